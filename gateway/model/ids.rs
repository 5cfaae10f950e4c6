//! Names that are only names: they are compared and shown, never computed with. Cloning one copies a pointer.

use std::fmt;

use triomphe::Arc;

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(Arc<str>);

        impl $type {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $type {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $type {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name!(
    /// The public name of a key, `key_…` for those made here. Stays when its secret is rotated.
    KeyId
);
name!(
    /// The owner of a key, as the operator names people and teams.
    UserId
);

impl KeyId {
    /// A fresh one: 96 random bits, hex, so that ids of several gateways never meet.
    pub fn random() -> Self {
        let id = uuid::Uuid::new_v4().simple().to_string();
        Self(format!("key_{}", &id[..24]).into())
    }
}
