//! What is made of the code: completions, manual pages, the schema. None needs a configuration.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::place::{Place, Ran};

#[test]
fn bash_completes_commands_options_and_choices() {
    let script = Place::new().run(&["completions", "bash"]).stdout;
    let completed = |words: &[&str]| {
        let (typed, count, last) = (words.join(" "), words.len(), words[words.len() - 1]);
        bash(&format!(
            "{script}
             COMP_WORDS=({typed} '') COMP_CWORD={count}
             [[ $(complete -p hokusai-gateway) =~ -F\\ ([^ ]+) ]]
             \"${{BASH_REMATCH[1]}}\" hokusai-gateway '' {last}
             echo \"${{COMPREPLY[@]}}\""
        ))
    };
    let has = |words: &[&str], wanted: &[&str]| {
        let offered = completed(words);
        let misses = wanted.iter().find(|word| offered.split_whitespace().all(|offer| offer != **word));
        assert_eq!(misses, None, "{offered}");
    };
    has(&["hokusai-gateway"], &["serve", "check", "keys", "usage", "--config"]);
    has(&["hokusai-gateway", "usage", "export"], &["--since", "--format", "--output"]);
    has(&["hokusai-gateway", "usage", "export", "--format"], &["csv", "jsonl"]);
}

fn bash(program: &str) -> String {
    let mut bash = Command::new("bash").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    bash.stdin.take().unwrap().write_all(program.as_bytes()).unwrap();
    let ran = Ran::of(bash.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    ran.stdout
}

#[test]
fn every_shell_gets_a_script_and_another_is_named_as_unknown() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let answer = place.answer(&["completions", shell]);
        assert!(answer["script"].as_str().unwrap().contains("hokusai-gateway"), "{shell}");
    }
    place.run(&["completions", "csh"]).refused(2, &["csh", "fish"]);
}

#[test]
fn there_is_a_manual_page_for_every_command() {
    let place = Place::new();
    let answer = place.answer(&["man", "--output", "pages/man1"]);
    let names: Vec<_> = answer["pages"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    for name in ["hokusai-gateway.1", "hokusai-gateway-keys.1", "hokusai-gateway-keys-create.1", "hokusai-gateway-usage-export.1"]
    {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    for name in names {
        let page = std::fs::read_to_string(place.path().join("pages/man1").join(name)).unwrap();
        assert!(page.contains(".TH ") && page.contains(".SH NAME") && page.contains("\\-\\-json"), "{page}");
    }
    std::fs::write(place.path().join("file"), "").unwrap();
    place.run(&["man", "--output", "file/man1"]).refused(1, &["file/man1"]);
}

#[test]
fn the_schema_is_printed_for_people_and_programs_also_beside_a_wrong_file() {
    let place = Place::new();
    std::fs::write(place.path().join("gateway.toml"), "no toml").unwrap();
    let people = place.run(&["schema"]);
    assert_eq!((people.code, people.stderr.as_str()), (0, ""));
    assert_eq!(serde_json::from_str::<Value>(&people.stdout).unwrap(), place.answer(&["schema"]));
    assert!(people.stdout.lines().count() > 100);
}
