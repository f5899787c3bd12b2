//! What each file of the library uses, as its `use` declarations and paths say.

use std::path::{Path, PathBuf};

/// A file of the library.
pub(crate) struct Module {
    /// Its path below the crate's root; empty for `lib.rs`.
    pub(crate) path: Vec<String>,
    /// Paths below the crate's root that it uses.
    pub(crate) uses: Vec<Vec<String>>,
}

/// All files of the library.
pub(crate) fn modules() -> Vec<Module> {
    let own = |file: &Path| !file.starts_with("src/bin");
    sources("src")
        .into_iter()
        .filter(|(file, _)| own(file))
        .map(|(file, text)| module(&file, &text))
        .collect()
}

/// The files below a folder and their text, without tests.
pub(crate) fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut folders = vec![PathBuf::from(folder)];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in
            std::fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry").path())
        {
            let is_test = entry.file_stem().is_some_and(|name| name == "tests" || name == "fixture");
            if entry.is_dir() && !is_test {
                folders.push(entry);
            } else if entry.extension().is_some_and(|extension| extension == "rs") && !is_test {
                let text = std::fs::read_to_string(&entry).expect("a source");
                let without_tests = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
                let without_tests = without_tests.split("#[cfg(test)]\npub(crate) mod tests").next();
                sources.push((entry, without_tests.unwrap_or_default().to_owned()));
            }
        }
    }
    sources.sort();
    sources
}

fn module(file: &Path, text: &str) -> Module {
    let mut path: Vec<String> =
        file.with_extension("").iter().skip(1).map(|part| part.to_string_lossy().into_owned()).collect();
    if path.last().is_some_and(|last| last == "mod" || last == "lib") {
        path.pop();
    }
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .map(|line| format!("{line}\n"))
        .collect();
    let mut uses = Vec::new();
    // A `use` declaration ends with a semicolon; a path in the code is one by itself.
    for declaration in code.split(';') {
        for prefix in ["crate::", "super::"] {
            for (at, _) in declaration.match_indices(prefix) {
                let before = declaration[..at].chars().next_back();
                if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                    continue;
                }
                expand(&declaration[at..], &mut Vec::new(), &mut uses);
            }
        }
    }
    let uses = uses.into_iter().filter_map(|used| absolute(&path, used)).collect();
    Module { path, uses }
}

/// Adds the paths of a use tree, such as `a::{b, c::d}`. Returns what is behind it.
fn expand<'t>(tree: &'t str, base: &mut Vec<String>, paths: &mut Vec<Vec<String>>) -> &'t str {
    let depth = base.len();
    let mut rest = tree;
    loop {
        rest = rest.trim_start();
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let (name, behind) = rest.split_at(end);
        if !name.is_empty() {
            base.push(name.to_owned());
        }
        rest = match behind.strip_prefix("::") {
            Some(behind) => behind,
            None => {
                rest = behind;
                break;
            }
        };
        if let Some(mut inner) = rest.strip_prefix('{') {
            loop {
                inner = expand(inner, base, paths).trim_start();
                match inner.strip_prefix(',') {
                    Some(next) => inner = next,
                    None => break,
                }
            }
            base.truncate(depth);
            return inner.strip_prefix('}').unwrap_or(inner);
        }
    }
    if base.len() > depth {
        paths.push(base.clone());
    }
    base.truncate(depth);
    rest
}

/// A path below the crate's root, as a file at `own` writes it.
fn absolute(own: &[String], used: Vec<String>) -> Option<Vec<String>> {
    if used.first().is_some_and(|first| first == "crate") {
        return Some(used[1..].to_vec());
    }
    let up = used.iter().take_while(|part| *part == "super").count();
    let base = own.get(..own.len().checked_sub(up)?)?;
    Some(base.iter().chain(&used[up..]).cloned().collect())
}
