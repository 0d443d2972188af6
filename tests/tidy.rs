//! The invariants of the workspace, held against its own source.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Every library.
const LIBRARIES: &[&str] = &["core", "data", "dist", "gradnorm", "models", "ops", "perturb", "sde", "train"];

/// The arrows between our crates; `tests` and `xtask` may depend on anything.
const ARROWS: [(&str, &[&str]); 12] = [
    ("ops", &[]),
    ("core", &["ops"]),
    ("models", &["core", "ops"]),
    ("data", &["core", "ops"]),
    ("dist", &["core", "ops"]),
    ("gradnorm", &["core", "ops"]),
    ("perturb", &["core"]),
    ("sde", &[]),
    ("train", &["core", "ops"]),
    ("msharp", LIBRARIES),
    ("lab", LIBRARIES),
    ("cli", &["core", "data", "lab", "models", "ops", "perturb", "train"]),
];

/// Where a hash map is not ours to avoid, and why its order has no effect.
const HASH_MAPS: [(&str, &str); 1] =
    [("crates/core/src/weights.rs", "the signature of safetensors::serialize, whose entries are then put in order")];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_path_buf()
}

/// A file of the workspace.
struct File {
    /// From the root, with slashes.
    path: String,
    text: String,
}

fn files(ending: &str) -> Vec<File> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_string_lossy();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                walk(&path, found);
            } else if path.is_file() {
                found.push(path.clone());
            }
        }
    }
    let (root, mut found) = (root(), Vec::new());
    for folder in ["crates", "datasets/fetch", "tests", "xtask"] {
        walk(&root.join(folder), &mut found);
    }
    found.sort();
    let named = |path: PathBuf| {
        let relative = path.strip_prefix(&root).expect("below the root").to_string_lossy().replace('\\', "/");
        relative
            .ends_with(ending)
            .then(|| File { text: std::fs::read_to_string(&path).expect("UTF-8"), path: relative })
    };
    let files: Vec<File> = found.into_iter().filter_map(named).collect();
    assert!(!files.is_empty(), "no {ending} below {}", root.display());
    files
}

impl File {
    /// The crate, where this is a library's source, and not a file of its tests.
    fn library(&self) -> Option<&str> {
        let (name, rest) = self.path.strip_prefix("crates/")?.split_once('/')?;
        (rest.starts_with("src/") && !rest.ends_with("/tests.rs")).then_some(name)
    }

    /// Lines of code with their numbers from 1: no comments, no documentation, no strings, and no items under
    /// `#[cfg(test)]` (rustfmt ends such an item with a brace in its own column).
    fn code(&self) -> Vec<(usize, String)> {
        let (mut code, mut until) = (Vec::new(), None);
        for (i, line) in self.text.lines().enumerate() {
            let indent = line.len() - line.trim_start().len();
            match until {
                Some(column) => {
                    if indent == column
                        && (line.trim_end().ends_with(['}', ';']) && !line.trim_start().starts_with('#'))
                    {
                        until = None;
                    }
                }
                None if line.trim_start().starts_with("#[cfg(test)]") => until = Some(indent),
                None => code.push((i + 1, without_strings_and_comments(line))),
            }
        }
        code
    }

    /// Lines of code that contain one of `words` as a word.
    fn uses(&self, words: &[&str]) -> Vec<String> {
        let code = self.code();
        let hits = code.iter().filter(|(_, line)| words.iter().any(|word| has_word(line, word)));
        hits.map(|(number, line)| format!("{}:{number}: {}", self.path, line.trim())).collect()
    }
}

fn without_strings_and_comments(line: &str) -> String {
    let (mut out, mut quoted, mut chars) = (String::new(), false, line.chars().peekable());
    while let Some(c) = chars.next() {
        match c {
            '\\' if quoted => drop(chars.next()),
            '\'' if !quoted && chars.peek() == Some(&'"') => drop(chars.next()), // the character '"'
            '"' => quoted = !quoted,
            '/' if !quoted && chars.peek() == Some(&'/') => break,
            c if !quoted => out.push(c),
            _ => {}
        }
    }
    out
}

/// `word` may end in `!` or `(`, or begin with `.`; a letter, digit or underscore beside it makes it another word.
fn has_word(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back().is_some_and(part) && word.starts_with(part);
        let after = line[at + word.len()..].chars().next().is_some_and(part) && word.ends_with(part);
        !before && !after
    })
}

#[track_caller]
fn assert_none(rule: &str, offences: Vec<String>) {
    assert!(offences.is_empty(), "{rule}:\n{}", offences.join("\n"));
}

fn libraries() -> Vec<File> {
    files(".rs").into_iter().filter(|file| file.library().is_some()).collect()
}

#[test]
fn the_reader_of_code_sees_code() {
    let text =
        "//! Doc.\nlet a = \"unsafe // b\"; // unsafe\n#[cfg(test)]\nmod tests {\n    x.unwrap();\n}\nunsafe {}\n";
    let file = File { path: "crates/x/src/y.rs".into(), text: text.into() };
    assert_eq!(file.uses(&["unsafe"]), ["crates/x/src/y.rs:7: unsafe {}"]);
    assert!(file.uses(&["unwrap"]).is_empty());
    assert!(
        has_word("a.unwrap()", ".unwrap(") && !has_word("eprintln!()", "println!") && !has_word("unsafe_op", "unsafe")
    );
    assert_eq!(file.library(), Some("x"));
}

#[test]
fn the_arrows_between_crates_are_those_of_the_design() {
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.into_iter().collect();
    let (mut offences, mut seen) = (Vec::new(), Vec::new());
    for manifest in files("Cargo.toml") {
        let Some(name) = manifest.path.strip_prefix("crates/").and_then(|rest| rest.strip_suffix("/Cargo.toml")) else {
            continue;
        };
        let Some(allowed) = allowed.get(name) else {
            offences.push(format!("crates/{name} is in no table of arrows"));
            continue;
        };
        seen.push(name.to_owned());
        // what a line says under any heading of dependencies: `msharp-x.workspace = true` or `msharp-x = {…}`
        let named = |line: &str| {
            let name = line.strip_prefix("msharp")?.split(['.', '=', ' ']).next()?;
            Some(name.strip_prefix('-').unwrap_or("msharp").to_owned())
        };
        for dependency in manifest.text.lines().filter_map(named) {
            if !allowed.contains(&dependency.as_str()) && dependency != name {
                offences.push(format!("{name} → {dependency}"));
            }
        }
        if let Some(line) = manifest.text.lines().find(|line| line.contains("path =") && line.contains("..")) {
            offences.push(format!("{name} goes round the workspace's table: {line}"));
        }
    }
    assert_none("arrows that the design does not have", offences);
    assert_eq!(seen.len(), ARROWS.len(), "crates that are missing: {seen:?}");
}

#[test]
fn every_library_is_a_package_that_a_registry_takes() {
    let table = std::fs::read_to_string(root().join("Cargo.toml")).expect("the workspace's manifest");
    let version = table.lines().find(|line| line.starts_with("version = ")).expect("the workspace's version");
    let inside = table.lines().filter(|line| line.contains("path = \"crates/"));
    let unversioned = inside.filter(|line| !line.contains(version));
    let mut offences: Vec<String> = unversioned.map(|line| format!("Cargo.toml: {line} lacks {version}")).collect();
    for manifest in files("Cargo.toml") {
        let Some(folder) = manifest.path.strip_suffix("/Cargo.toml").filter(|path| path.starts_with("crates/")) else {
            if !manifest.text.contains("publish = false") {
                offences.push(format!("{} would be published", manifest.path));
            }
            continue;
        };
        for key in ["description", "documentation", "readme", "keywords", "categories", "include"] {
            if !manifest.text.lines().any(|line| line.strip_prefix(key).is_some_and(|rest| rest.starts_with(" = "))) {
                offences.push(format!("{} has no {key}", manifest.path));
            }
        }
        for file in ["README.md", "LICENSE-MIT", "LICENSE-APACHE"] {
            if !root().join(folder).join(file).is_file() {
                offences.push(format!("{folder} has no {file}"));
            }
        }
        // what a build script reads has to be in the package
        if root().join(folder).join("kernels").exists() && !manifest.text.contains("\"/kernels\"") {
            offences.push(format!("{folder} would be published without its kernels"));
        }
    }
    assert_none("what a registry would refuse, or show wrongly", offences);
}

#[test]
fn rules_name_no_estimator_and_the_trainer_names_no_rule() {
    let estimators = ["Exact", "FiniteDifference", "Ghost", "LastLayer", "RandomNorms", "Shuffled", "msharp_gradnorm"];
    let rules = ["msharp_perturb", "Sharp", "Micro", "Gibbs", "sam", "usam", "m_sam", "n_sam", "rw_sam"];
    let mut offences = Vec::new();
    for file in libraries() {
        match file.library() {
            Some("perturb") => offences.extend(file.uses(&estimators)),
            Some("train") => offences.extend(file.uses(&rules)),
            Some("gradnorm") => offences.extend(file.uses(&["msharp_perturb"])),
            _ => {}
        }
    }
    assert_none("names that belong to another crate", offences);
}

#[test]
fn only_ops_is_unsafe_and_says_why() {
    let (mut offences, mut uses) = (Vec::new(), 0);
    for file in files(".rs").iter().filter(|file| !file.path.starts_with("tests/")) {
        let lines: Vec<&str> = file.text.lines().collect();
        for (i, line) in lines.iter().enumerate() {
            if !has_word(&without_strings_and_comments(line), "unsafe") {
                continue;
            }
            uses += 1;
            let reason =
                lines[i.saturating_sub(3)..i].iter().any(|l| l.contains("// SAFETY:") || l.contains("/// # Safety"));
            if !file.path.starts_with("crates/ops/") || !reason {
                offences.push(format!("{}:{}: {}", file.path, i + 1, line.trim()));
            }
        }
    }
    assert_none("unsafe code outside of ops, or without a reason in the three lines above", offences);
    assert!(uses > 0, "ops has unsafe code, and this test must see it");
}

#[test]
fn a_library_neither_prints_nor_unwraps() {
    let words = ["println!", "print!", "eprintln!", "eprint!", "dbg!", "todo!", "unimplemented!", ".unwrap("];
    // `lab` shows the progress of long work, in one file; `cli` is a program.
    let prints = |file: &&File| file.path == "crates/lab/src/screen.rs" || file.library() == Some("cli");
    let all = libraries();
    let silent = all.iter().filter(|file| !prints(file));
    assert_none("a library prints or unwraps", silent.flat_map(|file| file.uses(&words)).collect());
    let unwraps = all.iter().filter(prints).flat_map(|file| file.uses(&[".unwrap("]));
    assert_none("a program unwraps", unwraps.collect());
}

#[test]
fn order_depends_on_no_hash_map() {
    let allowed: BTreeMap<&str, &str> = HASH_MAPS.into_iter().collect();
    let uses = |file: &File| file.uses(&["HashMap", "HashSet", "IndexMap"]);
    let strangers = libraries().into_iter().filter(|file| !allowed.contains_key(file.path.as_str()));
    assert_none("a hash map in a library", strangers.flat_map(|file| uses(&file)).collect());
    for (path, reason) in HASH_MAPS {
        let used = libraries().iter().any(|file| file.path == path && !uses(file).is_empty());
        assert!(used, "{path} needs no exception any more ({reason})");
    }
}

#[test]
fn every_file_says_what_it_is_and_is_one_idea() {
    let nothing = ["util", "utils", "base", "common", "helper", "helpers", "misc"];
    let mut offences = Vec::new();
    for file in files(".rs") {
        let first = file.text.lines().find(|line| !line.starts_with("#![")).unwrap_or_default();
        if first.strip_prefix("//! ").is_none_or(|doc| doc.len() <= 10) {
            offences.push(format!("{}: opens with {first:?}", file.path));
        }
        if let Some(name) = file.path.split(['/', '.']).find(|part| nothing.contains(part)) {
            offences.push(format!("{}: {name} names nothing", file.path));
        }
        let length = file.text.lines().count();
        if length > 400 {
            offences.push(format!("{}: {length} lines", file.path));
        }
    }
    assert_none("files that do not say what they are, or are too long", offences);
}

#[test]
fn lines_have_no_tabs_and_no_blanks_at_their_ends_and_fit_a_page() {
    let mut offences = Vec::new();
    let (sources, manifests) = (files(".rs"), files("Cargo.toml"));
    for file in sources.iter().chain(&manifests) {
        let comment =
            |line: &str| line.trim_start().starts_with("//") && !line.contains("/// |") && !line.contains("//! |");
        let wide = |line: &str| comment(line) && line.chars().count() > 120; // of code rustfmt sees to it
        let spoilt = |line: &str| line.contains('\t') || line.trim_end() != line || wide(line);
        let lines = file.text.lines().enumerate().filter(|(_, line)| spoilt(line));
        offences.extend(lines.map(|(i, _)| format!("{}:{}", file.path, i + 1)));
        if !file.text.ends_with('\n') || file.text.ends_with("\n\n") || file.text.contains('\r') {
            offences.push(format!("{}: does not end in one line feed, or has carriage returns", file.path));
        }
    }
    assert_none("tabs, blanks at the end of a line, or a file's end", offences);
}

/// What its Rust examples do is a doctest of this crate.
#[test]
fn the_readme_exists_and_has_an_example() {
    let text = std::fs::read_to_string(root().join("README.md")).expect("README.md at the root");
    assert!(
        text.starts_with("# ") && text.contains("```rust"),
        "a title, and an example in Rust that the doctests compile"
    );
}

/// candle's own products use AVX-512 only where gemm's feature is on; whoever depends on one of our crates has it.
#[test]
fn every_crate_on_candle_brings_the_fast_products() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let on_candle = ARROWS.map(|(name, _)| name).into_iter().filter(|&name| name != "sde");
    for name in on_candle {
        let mut tree = std::process::Command::new(&cargo);
        tree.args(["tree", "--offline", "--locked", "--edges", "features", "--prefix", "none", "--invert", "gemm-f32"]);
        let output = tree.args(["--package", &format!("msharp-{name}")]).current_dir(root()).output().expect("cargo");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            said.contains("gemm-f32 feature \"x86-v4\""),
            "{name}: {said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// The invariants of ARCHITECTURE.md are each followed by the tests that hold them, `file.rs::test`.
#[test]
fn the_tests_that_the_architecture_names_exist() {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md at the root");
    let named: Vec<(&str, &str)> = text.split('`').filter_map(|part| part.split_once(".rs::")).collect();
    let exists = |(file, test): &(&str, &str)| {
        let source = std::fs::read_to_string(root().join(format!("{file}.rs"))).unwrap_or_default();
        source.contains(&format!("fn {test}("))
    };
    let missing = named.iter().filter(|named| !exists(named)).map(|(file, test)| format!("{file}.rs::{test}"));
    assert_none("tests that ARCHITECTURE.md names and that do not exist", missing.collect());
    assert!(named.len() > 20, "{named:?}");
}
