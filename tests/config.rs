//! The configuration as an operator meets it: every example loads, every mistake is told with its place and what to do.
//!
//! `tests/config/invalid/` holds a file for each key, named by the key, and one for each other rule (`rule-…`), with the
//! expected message beside it. `# env: NAME=value` in a file sets a variable. `UPDATE_EXPECTED=1` writes the messages anew:
//! read each as someone would who has to put it right.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use boon::{Compiler, SchemaIndex, Schemas};
use hokusai_gateway::config::{self, Config, Problems};
use serde_json::Value;
use tempfile::TempDir;

/// At least so many rules have a file.
const RULES: usize = 50;

#[test]
fn every_invalid_file_is_refused_with_its_message() {
    let files = files("tests/config/invalid");
    assert!(files.len() >= known_keys().len() + RULES, "only {} files were read", files.len());
    for file in files {
        let message = format!("{}\n", problems_of(&file)).replace(&format!("{}/", CERTIFICATES.path().display()), "");
        let expected = file.with_extension("txt");
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            fs::write(&expected, &message).expect("the message can be written");
        }
        assert_eq!(fs::read_to_string(&expected).unwrap_or_default(), message, "{}", file.display());
    }
}

#[test]
fn every_key_has_an_invalid_file_that_complains_of_it_alone() {
    let keys = known_keys();
    assert!(keys.len() > 70, "only {} keys were found", keys.len());
    for key in keys {
        let problems = problems_of(&Path::new("tests/config/invalid").join(format!("{key}.toml")));
        for problem in problems.0 {
            let path = without_indices(&problem.path);
            assert!(path == key || path.starts_with(&format!("{key}.")), "{key}.toml complains of {path}");
            assert!(problem.place.is_some(), "{key}.toml complains of no line");
        }
    }
}

#[test]
fn every_valid_file_loads() {
    let files = files("tests/config/valid");
    assert!(files.len() >= 5, "only {} files were read", files.len());
    for file in files {
        let text = fs::read_to_string(&file).expect("the file can be read");
        parse(&text).unwrap_or_else(|problems| panic!("{}: {problems}", file.display()));
    }
}

#[test]
fn the_example_loads_as_it_is_and_with_every_key_uncommented() {
    config::load(Path::new("gateway.toml"), &|_| None).unwrap_or_else(|error| panic!("{error}"));
    parse(&uncommented_example()).unwrap_or_else(|problems| panic!("{problems}"));
}

#[test]
fn the_example_shows_every_key() {
    let mut shown = BTreeSet::new();
    collect_keys("", &uncommented_example().parse().expect("TOML"), &mut shown);
    let known = known_keys();
    assert_eq!(known.difference(&shown).collect::<Vec<_>>(), Vec::<&String>::new());
}

#[test]
fn the_example_shows_the_defaults() {
    let sections = |text: &str| text[text.find("[server]").expect("the sections follow the routes")..].to_owned();
    let example = uncommented_example();
    let routes = MINIMAL.to_owned();
    let shown = parse(&format!("{routes}{}", sections(&example))).expect("the example is valid");
    // These tables mean something by being there; the files of the one, and webhooks, have no defaults.
    let tls = example.lines().skip_while(|line| *line != "[server.tls]").take_while(|line| *line != "[admin]");
    let is_named = |line: &&str| !line.starts_with("listen") && !line.starts_with("client_certificates");
    let named = tls.filter(is_named).collect::<Vec<_>>().join("\n");
    let webhooks = example.lines().skip_while(|line| *line != "[[alerts.webhooks]]").take_while(|line| !line.is_empty());
    let webhooks = webhooks.collect::<Vec<_>>().join("\n");
    let default = parse(&format!("{routes}[redis]\n{named}\n{webhooks}")).expect("a minimal file is valid");
    assert_eq!(format!("{shown:#?}"), format!("{default:#?}"));
}

#[test]
fn the_schema_allows_whatever_may_be_written() {
    let schema = Schema::compile();
    for file in files("tests/config/valid") {
        let text = fs::read_to_string(&file).expect("the file can be read");
        assert_eq!(schema.refusal(&text), None, "{}", file.display());
    }
    assert_eq!(schema.refusal(&fs::read_to_string("gateway.toml").expect("the example is there")), None);
    // Every key is in it, as another test holds.
    assert_eq!(schema.refusal(&uncommented_example()), None);
}

#[test]
fn the_schema_refuses_unknown_and_missing_keys_and_values_of_another_kind() {
    let schema = Schema::compile();
    let is_about_its_shape = |problem: &config::Problem| {
        let says = &problem.says;
        let is_another_kind = says.starts_with("must be ") && says.contains(", not ");
        is_another_kind || says.contains("is no known key") || says.contains("is no known choice") || says == "is missing"
    };
    let mut refused = 0;
    for file in files("tests/config/invalid") {
        let text = fs::read_to_string(&file).expect("the file can be read");
        if problems_of(&file).0.iter().any(is_about_its_shape) {
            assert!(schema.refusal(&text).is_some(), "{}", file.display());
            refused += 1;
        }
    }
    assert!(refused > 20, "only {refused} files were refused");
}

#[test]
fn in_every_table_the_schema_refuses_a_key_that_is_not_known() {
    let schema = Schema::compile();
    let example: toml::Table = uncommented_example().parse().expect("TOML");
    let mut tables = 0;
    for_each_table(&mut example.clone(), &mut |_| tables += 1);
    assert!(tables > 20, "only {tables} tables were found");
    for number in 0..tables {
        let (mut changed, mut count) = (example.clone(), 0);
        for_each_table(&mut changed, &mut |table| {
            if count == number {
                table.insert("no_such_key".to_owned(), 0.into());
            }
            count += 1;
        });
        assert!(schema.refusal(&changed.to_string()).is_some(), "{changed}");
    }
}

proptest::proptest! {
    /// A panic would hide all other problems; with reloading it would end a running gateway.
    #[test]
    fn no_damaged_file_makes_it_panic(at in 0_usize..8000, length in 0_usize..12, new in "[a-z0-9\\[\\]{}=\"'./:;#@% é-]{0,6}") {
        let mut text: Vec<char> = uncommented_example().chars().collect();
        let start = at.min(text.len());
        let end = (start + length).min(text.len());
        text.splice(start..end, new.chars());
        let _ = parse(&text.into_iter().collect::<String>()).map_err(|problems| problems.to_string());
    }
}

const MINIMAL: &str = r#"
[[upstreams]]
name = "app"
servers = ["http://127.0.0.1:8000"]
[[routes]]
path = "/"
upstream = "app"
"#;

fn parse(text: &str) -> Result<Config, Problems> {
    config::parse(text, CERTIFICATES.path(), &|_| None)
}

/// A folder with the files that the example and the other files name.
static CERTIFICATES: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, text: String| fs::write(folder.path().join(name), text).expect("the folder can be written to");
    for (certificate, private_key) in [("cert.pem", "key.pem"), ("other-cert.pem", "other-key.pem"), ("ca.pem", "ca-key.pem")] {
        let made = rcgen::generate_simple_self_signed(["gateway.test".to_owned()]).expect("a certificate");
        write(certificate, made.cert.pem());
        write(private_key, made.signing_key.serialize_pem());
    }
    folder
});

fn problems_of(file: &Path) -> Problems {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let variables: BTreeMap<_, _> = text.lines().filter_map(|line| line.strip_prefix("# env: ")?.split_once('=')).collect();
    let result = config::parse(&text, CERTIFICATES.path(), &|name| variables.get(name).map(ToString::to_string));
    result.map(|_| ()).expect_err(&format!("{} is invalid", file.display()))
}

/// All `.toml` files of a folder.
fn files(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the folder is there");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    files
}

/// Every key there is, as the gateway itself names them to who writes an unknown one into each table.
fn known_keys() -> BTreeSet<String> {
    const EVERY_TABLE: &str = r"
        0000000000000000000000 = 0
        server.0000000000000000000000 = 0
        server.tls.0000000000000000000000 = 0
        server.tls.certificates = [{ 0000000000000000000000 = 0 }]
        admin.0000000000000000000000 = 0
        store.0000000000000000000000 = 0
        redis.0000000000000000000000 = 0
        keys.0000000000000000000000 = 0
        limits.0000000000000000000000 = 0
        client_ip.0000000000000000000000 = 0
        usage.0000000000000000000000 = 0
        log.0000000000000000000000 = 0
        alerts.0000000000000000000000 = 0
        alerts.webhooks = [{ 0000000000000000000000 = 0 }]
        identity_headers.0000000000000000000000 = 0
        [[upstreams]]
        0000000000000000000000 = 0
        health_check.0000000000000000000000 = 0
        [[routes]]
        0000000000000000000000 = 0
        timeouts.0000000000000000000000 = 0
        request_headers.0000000000000000000000 = 0
        response_headers.0000000000000000000000 = 0
        cors.0000000000000000000000 = 0
        limit.0000000000000000000000 = 0
        redirect.0000000000000000000000 = 0
        respond.0000000000000000000000 = 0
    ";
    let problems = parse(EVERY_TABLE).expect_err("no table has such a key").0;
    let mut keys = BTreeSet::new();
    for problem in &problems {
        let Some(table) = without_indices(&problem.path).strip_suffix("0000000000000000000000").map(str::to_owned) else {
            continue;
        };
        let known = problem.hint.as_deref().and_then(|hint| hint.strip_prefix("known: ")).expect("the known keys are named");
        keys.extend(known.split(", ").map(|key| format!("{table}{key}")));
    }
    let tables: BTreeSet<_> = keys.iter().filter_map(|key| Some(key.rsplit_once('.')?.0.to_owned())).collect();
    keys.difference(&tables).cloned().collect()
}

/// As an editor applies it.
struct Schema(Schemas, SchemaIndex);

impl Schema {
    /// It is one by its own draft, too.
    fn compile() -> Self {
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        compiler.add_resource("gateway.json", config::schema()).expect("a name");
        let index = compiler.compile("gateway.json", &mut schemas).unwrap_or_else(|error| panic!("{error:#}"));
        Self(schemas, index)
    }

    /// What it has against the text of a file.
    fn refusal(&self, text: &str) -> Option<String> {
        let document: Value = toml::from_str(text).expect("TOML");
        self.0.validate(&document, self.1).err().map(|error| error.to_string())
    }
}

/// Headers of a rule are no keys of ours.
fn for_each_table(table: &mut toml::Table, visit: &mut impl FnMut(&mut toml::Table)) {
    visit(table);
    for (_, value) in table.iter_mut().filter(|(key, _)| *key != "set") {
        match value {
            toml::Value::Table(table) => for_each_table(table, visit),
            toml::Value::Array(items) => {
                items.iter_mut().filter_map(toml::Value::as_table_mut).for_each(|table| for_each_table(table, visit));
            }
            _ => {}
        }
    }
}

/// `routes[1].scopes[0]` is `routes.scopes`.
fn without_indices(path: &str) -> String {
    path.split(['[', ']']).step_by(2).collect()
}

fn uncommented_example() -> String {
    let example = fs::read_to_string("gateway.toml").expect("the example is there");
    let uncommented = |line: &str| match line.strip_prefix('#') {
        Some(key) if key.starts_with(|c: char| c.is_ascii_lowercase() || c == '[') => format!("{key}\n"),
        _ => format!("{line}\n"),
    };
    example.lines().map(uncommented).collect()
}

fn collect_keys(path: &str, table: &toml::Table, keys: &mut BTreeSet<String>) {
    for (key, value) in table {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let items = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        items.iter().filter_map(toml::Value::as_table).for_each(|table| collect_keys(&path, table, keys));
        keys.insert(path);
    }
}
