//! Modules import only from the layers above their own, as `gateway/lib.rs` lists them, and never in a circle.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// By which room imports which: `auth` → {`cache`, `model`, …}.
type Imports = BTreeMap<String, BTreeSet<String>>;

#[test]
fn no_import_points_to_a_later_layer() {
    let layers = layers();
    let (imports, _) = imports();
    for (room, imported) in &imports {
        let layer = layers.get(room).unwrap_or_else(|| panic!("`{room}` is not in lib.rs"));
        for other in imported {
            let above = layers.get(other).unwrap_or_else(|| panic!("`{room}` imports `{other}`, which is not in lib.rs"));
            assert!(above <= layer, "`{room}` (layer {layer}) imports `{other}` (layer {above})");
        }
    }
}

#[test]
fn no_rooms_import_each_other_in_a_circle() {
    let (mut imports, _) = imports();
    // Takes away rooms that import nothing that is left, until none is left or the rest stands in a circle.
    while !imports.is_empty() {
        let left: BTreeSet<String> = imports.keys().cloned().collect();
        let before = imports.len();
        imports.retain(|_, imported| !imported.is_disjoint(&left));
        assert!(imports.len() < before, "these import each other: {imports:#?}");
    }
}

/// A test that reads nothing would pass for ever.
#[test]
fn every_file_was_read() {
    let (imports, files) = imports();
    assert!(files > 30, "{files} files");
    let rooms_with_imports = imports.values().filter(|imported| !imported.is_empty()).count();
    assert!(rooms_with_imports > 5, "{imports:#?}");
    assert!(imports["config"].contains("model"), "{imports:#?}");
    for module in layers().keys() {
        assert!(imports.contains_key(module), "no file of `{module}` was read");
    }
}

#[test]
fn every_way_to_write_an_import_is_understood() {
    let source = "use crate::model::ids;\nuse crate::{clock, store::{keys, Store}, auth as a};\nfn f() { crate::units::parse(); }\n\
                  // crate::comment is none\nstruct S; // nor crate::this\nlet x = hokusai_crate::no;\n#[cfg(test)]\nuse crate::drain;";
    let expected = ["auth", "clock", "drain", "model", "store", "units"].map(str::to_owned);
    assert_eq!(imports_of(source), BTreeSet::from(expected));
}

/// The layer of each room: the number in the comment above its `pub mod` line.
fn layers() -> BTreeMap<String, u32> {
    let text = fs::read_to_string(gateway().join("lib.rs")).expect("lib.rs can be read");
    let mut layers = BTreeMap::new();
    let mut layer = None;
    for line in text.lines() {
        if let Some(number) = line.strip_prefix("// ").and_then(|comment| comment.split(' ').next()?.parse().ok()) {
            layer = Some(number);
        } else if let Some(module) = line.strip_prefix("pub mod ") {
            let layer = layer.expect("every module stands below the name of its layer");
            layers.insert(module.trim_end_matches(';').to_owned(), layer);
        }
    }
    layers
}

/// What each room imports from others, and how many files were read.
fn imports() -> (Imports, usize) {
    let mut files = Vec::new();
    collect(&gateway(), &mut files);
    let mut imports = Imports::new();
    for file in &files {
        let room = room_of(file);
        // These two are outside: one lists the layers, the other uses the library like anybody.
        if room == "lib" || room == "main" {
            continue;
        }
        let source = fs::read_to_string(file).expect("a source file can be read");
        let others = imports_of(&source).into_iter().filter(|other| *other != room);
        imports.entry(room.clone()).or_default().extend(others);
    }
    (imports, files.len())
}

fn gateway() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("gateway")
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder can be listed") {
        let path = entry.expect("an entry can be read").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The first step of the path below `gateway/`: a folder, or a file without its ending.
fn room_of(file: &Path) -> String {
    let inside = file.strip_prefix(gateway()).expect("below gateway/");
    let first = inside.iter().next().and_then(|step| step.to_str()).expect("a file name in UTF-8");
    first.trim_end_matches(".rs").to_owned()
}

/// The rooms named by `crate::…` paths, comments aside.
fn imports_of(source: &str) -> BTreeSet<String> {
    let code: String = source.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n");
    let mut rooms = BTreeSet::new();
    for (at, path) in code.match_indices("crate::") {
        if code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_') {
            continue;
        }
        let rest = &code[at + path.len()..];
        match rest.strip_prefix('{') {
            Some(group) => rooms.extend(first_names(group)),
            None => rooms.extend(first_name(rest)),
        }
    }
    rooms
}

/// Of `clock, store::{keys, Store}, auth as a}`: clock, store, auth.
fn first_names(group: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut depth = 0;
    let mut item = String::new();
    for character in group.chars() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.extend(first_name(&std::mem::take(&mut item))),
            _ if depth == 0 => item.push(character),
            _ => {}
        }
    }
    names.extend(first_name(&item));
    names
}

fn first_name(path: &str) -> Option<String> {
    let name: String = path.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!name.is_empty()).then_some(name)
}
