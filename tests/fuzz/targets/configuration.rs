//! gateway.toml. The bytes: the file.

use std::path::Path;

use hokusai_gateway::config::parse;

/// It is a configuration, or there are problems, each of which says where it is.
pub fn holds(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Err(problems) = parse(text, Path::new("/nowhere"), &|_| None) else { return };
    assert!(!problems.0.is_empty(), "refused without a word");
    let lines: Vec<&str> = text.split('\n').collect();
    for problem in &problems.0 {
        assert!(!problem.says.is_empty() && !problem.to_string().contains('\n'), "{problem:?}");
        assert!(problem.place.is_some() || !problem.path.is_empty(), "{problem:?} is nowhere");
        if let Some(place) = problem.place {
            let line = lines.get(place.line - 1).unwrap_or_else(|| panic!("{problem:?} is behind the end"));
            assert!((1..=line.chars().count() + 1).contains(&place.column), "{problem:?} is beside its line");
        }
    }
    let places: Vec<_> = problems.0.iter().filter_map(|problem| problem.place).collect();
    assert!(places.is_sorted(), "{places:?}");
}
