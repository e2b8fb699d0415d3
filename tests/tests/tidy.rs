//! Rules about the source tree that no compiler checks: which crate may import which, who owns a dependency, where
//! `unsafe` may stand, and that no file is dead, empty, too long or full of leftovers.
//!
//! A rule that gets in the way is changed here, with the reason beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Longest source file that needs no reason.
const LINES_MAX: usize = 1_000;
/// How a longer file gives its reason, on one of its first lines.
const LONG_BECAUSE: &str = "Long because ";
const FIRST_LINES: usize = 10;
/// Largest file that is taken for text.
const TEXT_BYTES_MAX: u64 = 4 << 20;
/// Folders that hold what tools make.
const SKIPPED: &[&str] = &[".git", "target", ".venv", "__pycache__", ".pytest_cache", "corpus", "artifacts"];

/// Which of our crates each may import. Tests may import more: see `TEST_EDGES`.
const EDGES: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("telemetry", &[]),
    ("codec", &[]),
    ("rt", &["telemetry"]),
    ("store", &["types", "telemetry", "rt", "codec"]),
    ("http", &["rt", "telemetry"]),
    ("s3", &["types", "codec"]),
    ("iam", &["types"]),
    // codec: a copied object's ETag and checksums are computed here. rt: bodies pass through in its buffers.
    ("ops", &["s3", "iam", "store", "types", "telemetry", "codec", "rt"]),
    // rt: a front is handed a listener. types: names of buckets and keys in replies. telemetry: /metrics.
    ("fronts", &["http", "s3", "iam", "ops", "rt", "types", "telemetry"]),
    ("hafiz", &["types", "telemetry", "rt", "codec", "store", "http", "s3", "iam", "ops", "fronts"]),
    ("tests", &[]),
    // What measures the server shares nothing with it.
    ("bench", &[]),
];

/// Edges that only the tests of a crate need.
const TEST_EDGES: &[(&str, &[&str])] = &[
    // A front is tested over a real store, end to end.
    ("fronts", &["store", "codec"]),
];

/// Who may name a dependency. A new one gets a row here.
const OWNERS: &[(&str, &[&str])] = &[
    ("aws-lc-rs", &["bench", "codec"]),
    ("base64", &["bench", "s3"]),
    ("crc-fast", &["codec"]),
    ("hdrhistogram", &["bench"]),
    ("httparse", &["http"]),
    ("io-uring", &["rt"]),
    ("libc", &["rt"]),
    ("lsm-tree", &["store"]),
    ("md-5", &["bench"]),
    ("mimalloc", &["hafiz"]),
    ("mio", &["bench"]),
    ("quick-xml", &["s3"]),
    ("rustls", &["bench", "http"]),
    ("serde", &["bench", "iam"]),
    ("serde_json", &["bench", "iam"]),
    ("sha2", &["codec"]),
    // Under `--cfg shuttle` only.
    ("shuttle", &["rt"]),
    ("toml", &["hafiz"]),
    ("xxhash-rust", &["codec"]),
];

/// The same for what only tests use.
const TEST_OWNERS: &[(&str, &[&str])] = &[
    // Oracles for the kernels.
    ("md-5", &["codec"]),
    ("reed-solomon-erasure", &["codec"]),
    // Certificates for the TLS tests.
    ("rcgen", &["http"]),
    // Reads the manifests for this file.
    ("toml", &["tests"]),
    ("proptest", &["codec", "iam", "rt", "s3", "store"]),
    ("tempfile", &["hafiz", "fronts", "http", "rt", "store", "tests"]),
];

/// Where the name of a dependency may stand in the source, for those that one module hides from its own crate, too.
const HIDDEN: &[(&str, &[&str])] = &[
    ("lsm_tree::", &["engine/store/src/index"]),
    (
        "io_uring::",
        &["engine/rt/src/uring.rs", "engine/rt/src/uring/", "engine/rt/src/sys.rs", "engine/rt/src/check.rs"],
    ),
];

/// Folders whose code may be `unsafe`. What the sanitizers have to find is nothing else.
const UNSAFE: &[&str] = &["engine/rt/src", "engine/codec/src", "tests/sanitize/planted"];

/// No crate may be called this: such a crate collects what has no place.
const NO_NAMES: &[&str] = &["common", "utils", "util", "core", "helpers", "misc", "shared"];

#[test]
fn crates_import_only_what_the_table_allows() {
    for krate in crates() {
        let name = krate.short_name();
        let allowed = row(EDGES, name).unwrap_or_else(|| panic!("crate {name} has no row in EDGES"));
        let in_tests = row(TEST_EDGES, name).unwrap_or(&[]);
        for dependency in krate.dependencies.iter().filter_map(|dependency| ours(dependency)) {
            assert!(allowed.contains(&dependency), "{name} imports {dependency}, which EDGES does not allow");
        }
        for dependency in krate.test_dependencies.iter().filter_map(|dependency| ours(dependency)) {
            let is_allowed = allowed.contains(&dependency) || in_tests.contains(&dependency);
            assert!(is_allowed, "the tests of {name} import {dependency}, which TEST_EDGES does not allow");
        }
    }
}

#[test]
fn each_dependency_has_owners_that_alone_name_it() {
    let mut named = BTreeSet::new();
    for krate in crates() {
        let name = krate.short_name();
        for dependency in krate.dependencies.iter().filter(|dependency| ours(dependency).is_none()) {
            let owners =
                row(OWNERS, dependency).unwrap_or_else(|| panic!("{dependency} of {name} has no row in OWNERS"));
            assert!(owners.contains(&name), "{name} names {dependency}, which belongs to {owners:?}");
            named.insert(dependency.clone());
        }
        for dependency in krate.test_dependencies.iter().filter(|dependency| ours(dependency).is_none()) {
            let owners = [row(OWNERS, dependency), row(TEST_OWNERS, dependency)].into_iter().flatten().flatten();
            assert!(owners.clone().any(|owner| *owner == name), "the tests of {name} name {dependency}");
            named.insert(dependency.clone());
        }
    }
    let root = manifest(&root().join("Cargo.toml"));
    for dependency in root["workspace"]["dependencies"].as_table().expect("a table of dependencies").keys() {
        let is_ours = row(EDGES, dependency).is_some();
        assert!(is_ours || named.contains(dependency), "the workspace lists {dependency}, which no crate uses");
    }
}

#[test]
fn a_hidden_dependency_is_named_by_its_module_only() {
    for (name, places) in HIDDEN {
        for (path, text) in rust_files() {
            let is_named = text.lines().map(code).any(|line| line.contains(name));
            let is_allowed = places.iter().any(|place| path.starts_with(place)) || path.starts_with("tests/tests/");
            assert!(!is_named || is_allowed, "{path} names {name}, which belongs to {places:?}");
        }
    }
}

#[test]
fn crates_share_lints_and_have_telling_names() {
    for krate in crates() {
        let name = krate.short_name();
        assert!(krate.has_workspace_lints, "{name} lacks lints.workspace = true");
        assert!(!NO_NAMES.contains(&name), "a crate may not be called {name}");
        for part in krate.folder.strip_prefix(root()).expect("crates are in the workspace").components() {
            let part = part.as_os_str().to_string_lossy();
            assert!(!NO_NAMES.contains(&part.as_ref()), "a folder may not be called {part}");
        }
    }
}

#[test]
fn unsafe_stands_in_the_runtime_and_in_the_kernels_only() {
    const FORMS: &[&str] =
        &["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "unsafe trait", "allow(unsafe_code"];
    for (path, text) in rust_files() {
        if UNSAFE.iter().any(|folder| path.starts_with(folder)) || path == "tests/tests/tidy.rs" {
            continue;
        }
        let line = text.lines().find(|line| FORMS.iter().any(|form| code(line).contains(form)));
        assert!(line.is_none(), "{path} is unsafe: {}", line.unwrap_or_default());
    }
}

#[test]
fn nothing_is_left_over() {
    // In two halves, so that this file does not find itself.
    let leftovers = [("FIX", "ME"), ("TO", "DO"), ("XX", "X"), ("HA", "CK")].map(|(a, b)| format!("{a}{b}"));
    let calls = [("db", "g!("), ("to", "do!("), ("unimple", "mented!(")].map(|(a, b)| format!("{a}{b}"));
    for (path, text) in text_files() {
        if path == "Cargo.lock" || path == "STYLE.md" || path == "LICENSE" {
            continue;
        }
        for line in text.lines() {
            let word = leftovers.iter().find(|word| has_word(line, word));
            assert!(word.is_none(), "{path}: {line}");
            let is_called = path.ends_with(".rs") && calls.iter().any(|call| code(line).contains(call.as_str()));
            assert!(!is_called, "{path}: {line}");
            let is_ignored = path.ends_with(".rs") && code(line).trim_start().starts_with(concat!("#[ign", "ore"));
            assert!(!is_ignored, "{path} ignores a test");
        }
    }
}

#[test]
fn no_path_of_one_machine_is_written_down() {
    let paths = [("/wo", "rk/"), ("/ro", "ot/"), ("/ho", "me/")].map(|(a, b)| format!("{a}{b}"));
    for (path, text) in text_files() {
        for line in text.lines() {
            let found = paths.iter().find(|found| {
                // `~/work/` or `a/work/` is no absolute path.
                let starts = line.match_indices(found.as_str()).map(|(at, _)| line[..at].chars().next_back());
                starts.flatten().any(|before| !before.is_alphanumeric() && !"~.}_-/".contains(before))
                    || line.starts_with(found.as_str())
            });
            assert!(found.is_none(), "{path}: {line}");
        }
    }
}

#[test]
fn no_source_file_is_too_long() {
    for (path, text) in rust_files() {
        let lines = text.lines().count();
        let has_reason = text.lines().take(FIRST_LINES).any(|line| line.contains(LONG_BECAUSE));
        assert!(lines <= LINES_MAX || has_reason, "{path} has {lines} lines and does not say \"{LONG_BECAUSE}...\"");
    }
}

#[test]
fn no_source_file_is_empty_or_dead() {
    let files: BTreeMap<String, String> = rust_files().into_iter().collect();
    let mut alive = BTreeSet::new();
    let mut open: Vec<String> = files.keys().filter(|path| is_crate_root(path)).cloned().collect();
    while let Some(path) = open.pop() {
        if !alive.insert(path.clone()) {
            continue;
        }
        let text = &files[&path];
        let children = modules(text).into_iter().flat_map(|module| places_of(&path, &module));
        open.extend(children.filter(|child| files.contains_key(child)));
    }
    for (path, text) in &files {
        assert!(!text.trim().is_empty(), "{path} is empty");
        assert!(alive.contains(path), "{path} is not reached by any mod");
    }
}

#[test]
fn every_crate_root_says_what_it_is_for() {
    for (path, text) in rust_files() {
        let is_root = path.ends_with("src/lib.rs") || path.ends_with("src/main.rs");
        assert!(!is_root || text.starts_with("//! "), "{path} does not open with what it is for");
    }
}

#[test]
fn the_rules_of_this_file_find_what_they_look_for() {
    assert_eq!(code("let a = 1; // unsafe {"), "let a = 1; ");
    assert_eq!(code("let a = \"http://x\";"), "let a = \"http://x\";");
    assert!(has_word("use lsm_tree::Tree;", "lsm_tree") && !has_word("my_lsm_tree", "lsm_tree"));
    assert_eq!(modules("mod a;\n    pub(crate) mod b;\n// mod c;\nmod d {\n"), ["a", "b"]);
    assert_eq!(places_of("x/src/lib.rs", "m"), ["x/src/m.rs", "x/src/m/mod.rs"]);
    assert_eq!(places_of("x/src/a/mod.rs", "m"), ["x/src/a/m.rs", "x/src/a/m/mod.rs"]);
    assert_eq!(places_of("x/src/a.rs", "m"), ["x/src/a/m.rs", "x/src/a/m/mod.rs"]);
    assert!(is_crate_root("x/tests/a.rs") && !is_crate_root("x/tests/a/b.rs") && !is_crate_root("x/src/tests.rs"));
}

/// A member of the workspace, as its manifest has it.
struct Crate {
    name: String,
    folder: PathBuf,
    dependencies: BTreeSet<String>,
    test_dependencies: BTreeSet<String>,
    has_workspace_lints: bool,
}

impl Crate {
    fn short_name(&self) -> &str {
        self.name.strip_prefix("hafiz-").unwrap_or(&self.name)
    }
}

/// The short name of a dependency that is a crate of ours.
fn ours(dependency: &str) -> Option<&str> {
    let name = dependency.strip_prefix("hafiz-").unwrap_or(dependency);
    row(EDGES, name).map(|_| name)
}

fn row<'a>(table: &[(&str, &'a [&'a str])], name: &str) -> Option<&'a [&'a str]> {
    table.iter().find(|(key, _)| *key == name).map(|(_, row)| *row)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are a folder of the workspace")
}

fn manifest(path: &Path) -> toml::Table {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.parse().unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All members, from the manifests: nothing needs to be resolved or fetched.
fn crates() -> Vec<Crate> {
    let workspace = manifest(&root().join("Cargo.toml"));
    let members = workspace["workspace"]["members"].as_array().expect("a list of members");
    let folders = members.iter().map(|member| root().join(member.as_str().expect("a member is a path")));
    folders.map(|folder| read_crate(&folder)).collect()
}

fn read_crate(folder: &Path) -> Crate {
    let manifest = manifest(&folder.join("Cargo.toml"));
    let mut tables = vec![&manifest];
    // `[target.'cfg(...)'.dependencies]` counts like the plain one.
    let targets = manifest.get("target").and_then(|targets| targets.as_table());
    tables.extend(targets.iter().flat_map(|targets| targets.values()).filter_map(|target| target.as_table()));
    let names = |kinds: &[&str]| -> BTreeSet<String> {
        let of_kind = tables.iter().flat_map(|table| kinds.iter().filter_map(|kind| table.get(*kind)));
        of_kind.filter_map(|kind| kind.as_table()).flat_map(|kind| kind.keys().cloned()).collect()
    };
    let lints = manifest.get("lints").and_then(|lints| lints.get("workspace")).and_then(|value| value.as_bool());
    Crate {
        name: manifest["package"]["name"].as_str().expect("a package has a name").to_owned(),
        folder: folder.to_owned(),
        dependencies: names(&["dependencies", "build-dependencies"]),
        test_dependencies: names(&["dev-dependencies"]),
        has_workspace_lints: lints == Some(true),
    }
}

/// Every file of the tree that is text, by its path from the root.
fn text_files() -> Vec<(String, String)> {
    let mut files = Vec::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for entry in entries {
            let entry = entry.expect("the tree can be read");
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = entry.file_type().expect("the tree can be read");
            let is_made = SKIPPED.contains(&name.as_str()) || name.starts_with("target-");
            if kind.is_dir() && !is_made {
                folders.push(entry.path());
            } else if name == ".git" {
                // In a worktree it is a file, which names the repository's folder on this machine.
            } else if kind.is_file() && entry.metadata().is_ok_and(|metadata| metadata.len() <= TEXT_BYTES_MAX) {
                // Seeds of the fuzzer and the like are no text.
                let Ok(text) = fs::read_to_string(entry.path()) else { continue };
                let path = entry.path().strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
                files.push((path, text));
            }
        }
    }
    assert!(files.len() > 50, "the tree was not found");
    files.sort();
    files
}

fn rust_files() -> Vec<(String, String)> {
    text_files().into_iter().filter(|(path, _)| path.ends_with(".rs")).collect()
}

/// A line without its comment. Crude about strings: `//` after a colon is taken for an address.
fn code(line: &str) -> &str {
    let comment = line.match_indices("//").map(|(at, _)| at).find(|at| !line[..*at].ends_with(':'));
    &line[..comment.unwrap_or(line.len())]
}

fn has_word(line: &str, word: &str) -> bool {
    let is_inner = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word)
        .any(|(at, _)| !is_inner(line[..at].chars().next_back()) && !is_inner(line[at + word.len()..].chars().next()))
}

/// The modules that a file declares in files of their own.
fn modules(text: &str) -> Vec<String> {
    let declared = |line: &str| {
        let line = code(line).trim();
        let (before, name) = line.strip_suffix(';')?.rsplit_once("mod ")?;
        let is_declaration = before.is_empty() || before.starts_with("pub") || before.starts_with("#[");
        let is_name = name.chars().all(|c| c.is_alphanumeric() || c == '_');
        (is_declaration && is_name).then(|| name.to_owned())
    };
    text.lines().filter_map(declared).collect()
}

/// Where a module that `path` declares may lie.
fn places_of(path: &str, module: &str) -> [String; 2] {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    let own = match file {
        _ if is_crate_root(path) || file == "mod.rs" => folder.to_owned(),
        file => format!("{folder}/{}", file.trim_end_matches(".rs")),
    };
    [format!("{own}/{module}.rs"), format!("{own}/{module}/mod.rs")]
}

/// What cargo compiles by itself.
fn is_crate_root(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    match parts[..] {
        [.., "src", "lib.rs" | "main.rs"] | [.., "src", "bin", _] | [.., "build.rs"] => true,
        [.., "src", "tests" | "benches", _] => false,
        [.., "tests" | "benches" | "examples" | "targets", file] => file.ends_with(".rs") && !path.contains("/src/"),
        _ => false,
    }
}
