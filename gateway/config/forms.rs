//! The forms that texts of several sections have.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};

use super::problem::Complaint;
use crate::units::{UnitError, parse_duration, parse_size};

impl From<UnitError> for Complaint {
    fn from(error: UnitError) -> Self {
        Self::new(error.to_string())
    }
}

/// What a text has to be. Mostly a function that reads it.
pub(super) trait Form<T> {
    fn read(&self, text: &str) -> Result<T, Complaint>;

    /// The words there are, where there are but a few.
    fn choices(&self) -> Vec<&'static str> {
        vec![]
    }
}

impl<T, F: Fn(&str) -> Result<T, Complaint>> Form<T> for F {
    fn read(&self, text: &str) -> Result<T, Complaint> {
        self(text)
    }
}

/// Zero is for the key to give a meaning to.
pub(super) fn duration(text: &str) -> Result<Duration, Complaint> {
    Ok(parse_duration(text)?)
}

pub(super) fn positive_duration(text: &str) -> Result<Duration, Complaint> {
    match duration(text)? {
        Duration::ZERO => Err(Complaint::new("must be longer than zero")),
        duration => Ok(duration),
    }
}

/// A size between two others, written as in the file.
pub(super) fn size(range: RangeInclusive<&'static str>) -> impl Fn(&str) -> Result<usize, Complaint> {
    let bytes = |text: &str| parse_size(text).map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    move |text| {
        let (size, least, most) = (bytes(text)?, bytes(range.start())?, bytes(range.end())?);
        match (least..=most).contains(&size) {
            true => Ok(size),
            false => Err(Complaint::new(format!("`{text}` is not between {} and {}", range.start(), range.end()))),
        }
    }
}

/// `0` is no limit.
pub(super) fn size_limit(text: &str) -> Result<Option<u64>, Complaint> {
    Ok(Some(parse_size(text)?).filter(|&size| size > 0))
}

/// One of a few words.
pub(super) fn one_of<'a, T: Copy>(choices: &'a [(&'static str, T)]) -> OneOf<'a, T> {
    OneOf(choices)
}

pub(super) struct OneOf<'a, T>(&'a [(&'static str, T)]);

impl<T: Copy> Form<T> for OneOf<'_, T> {
    fn read(&self, text: &str) -> Result<T, Complaint> {
        let chosen = self.0.iter().find(|(word, _)| *word == text).map(|(_, choice)| *choice);
        chosen.ok_or_else(|| Complaint::unknown("choice", text, &self.choices()))
    }

    fn choices(&self) -> Vec<&'static str> {
        self.0.iter().map(|(word, _)| *word).collect()
    }
}

pub(super) fn address(text: &str) -> Result<SocketAddr, Complaint> {
    text.parse().map_err(|_| {
        let complaint = Complaint::new(format!("`{text}` is no IP address with a port"));
        match text.rsplit_once(':') {
            Some(("", port)) => complaint.hint(format!("write 0.0.0.0:{port} or [::]:{port} for every address")),
            Some(("localhost", port)) => complaint.hint(format!("write 127.0.0.1:{port} or [::1]:{port}")),
            _ => complaint.hint("write it like 127.0.0.1:8080 or [::1]:8080"),
        }
    })
}

pub(super) fn header_name(text: &str) -> Result<HeaderName, Complaint> {
    HeaderName::try_from(text).map_err(|_| Complaint::new(format!("`{text}` is no name of a header")))
}

pub(super) fn header_value(text: &str) -> Result<HeaderValue, Complaint> {
    HeaderValue::try_from(text).map_err(|_| Complaint::new("is no value of a header").hint("control characters cannot be sent"))
}

/// A token of RFC 9110 5.6.2 in upper case, as all methods in use are.
pub(super) fn method(text: &str) -> Result<Method, Complaint> {
    let method = Method::try_from(text).ok().filter(|method| method.as_str() == text.to_ascii_uppercase());
    method.ok_or_else(|| Complaint::new(format!("`{text}` is no method")).hint("methods are written in upper case, like GET"))
}
