//! The shape of the source: who may use whom.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use syn::visit::{self, Visit};
use syn::{ItemUse, UseTree};

/// From the top down: a module uses those after it, never those before it.
const LAYERS: [&str; 6] = ["cli", "config", "server", "engine", "catalog", "storage"];

/// What all layers use, and uses none of them.
const LEAVES: [&str; 3] = ["error", "failpoint", "safeguard"];

/// How DataFusion reads a footer's statistics: the one thing of its plans' that the catalog takes.
const STATISTICS: &str = "datafusion::datasource::physical_plan::parquet::metadata::DFParquetMetadata";

/// What a layer does not know, and what it may use of that all the same.
const UNKNOWN: [(&str, &str, &[&str]); 11] = [
    ("server", "parquet", &[]),
    ("server", "deltalake_core", &[]),
    ("catalog", "datafusion::catalog", &[]),
    ("catalog", "datafusion::datasource", &[STATISTICS]),
    ("catalog", "datafusion::physical_plan", &[]),
    ("catalog", "datafusion_catalog", &[]),
    ("catalog", "datafusion_datasource", &[]),
    ("catalog", "datafusion_physical_plan", &[]),
    ("storage", "datafusion", &[]),
    ("storage", "datafusion_common", &[]),
    ("storage", "datafusion_datasource", &[]),
];

/// A path that a source file writes, from the crate's root or from that of another crate.
struct Used {
    /// The file's modules, from the root of the crate.
    user: Vec<String>,
    path: Vec<String>,
}

impl Used {
    fn layer(&self) -> &str {
        self.user.first().map_or("", String::as_str)
    }

    /// The module of ours that it leads into.
    fn of_ours(&self) -> Option<&str> {
        let [first, module, ..] = self.path.as_slice() else { return None };
        (first == "crate").then_some(module)
    }

    fn is_in(&self, module: &str) -> bool {
        let path = self.path.join("::");
        path.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    }
}

impl fmt::Display for Used {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} uses {}", self.user.join("::"), self.path.join("::"))
    }
}

/// Gathers the paths of a file, those of `use` with all of their branches.
struct Paths<'a> {
    user: Vec<String>,
    used: &'a mut Vec<Used>,
}

impl Paths<'_> {
    /// Notes a path; `super` and `self` lead from the module that writes it.
    fn add(&mut self, path: &[String]) {
        let mut module = vec!["crate".to_owned()];
        module.extend_from_slice(&self.user);
        let path = match path.first().map(String::as_str) {
            Some("self" | "super") => {
                let mut rest = path;
                while let [first, others @ ..] = rest {
                    match first.as_str() {
                        "self" => {}
                        "super" => drop(module.pop()),
                        _ => break,
                    }
                    rest = others;
                }
                module.extend_from_slice(rest);
                module
            }
            _ => path.to_vec(),
        };
        self.used.push(Used { user: self.user.clone(), path });
    }

    fn add_tree(&mut self, before: &[String], tree: &UseTree) {
        let with = |name: String| before.iter().cloned().chain([name]).collect::<Vec<_>>();
        match tree {
            UseTree::Path(path) => self.add_tree(&with(path.ident.to_string()), &path.tree),
            UseTree::Name(name) if name.ident == "self" => self.add(before),
            UseTree::Name(name) => self.add(&with(name.ident.to_string())),
            UseTree::Rename(rename) => self.add(&with(rename.ident.to_string())),
            UseTree::Glob(_) => self.add(before),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.add_tree(before, tree)),
        }
    }
}

impl<'ast> Visit<'ast> for Paths<'_> {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        self.user.push(module.ident.to_string());
        visit::visit_item_mod(self, module);
        self.user.pop();
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.add_tree(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if segments.len() > 1 {
            self.add(&segments);
        }
        visit::visit_path(self, path);
    }
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// The modules that a file of `src` is, from the root of the crate.
fn modules(file: &Path, src: &Path) -> Vec<String> {
    let file = file.strip_prefix(src).unwrap().with_extension("");
    let names = file.iter().map(|name| name.to_str().unwrap().to_owned());
    names.filter(|name| !["lib", "main", "mod"].contains(&name.as_str())).collect()
}

/// What all files of `src` use.
static USED: LazyLock<Vec<Used>> = LazyLock::new(|| {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut used = Vec::new();
    for file in sources(&src) {
        let text = std::fs::read_to_string(&file).unwrap();
        let parsed = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        Paths { user: modules(&file, &src), used: &mut used }.visit_file(&parsed);
    }
    used
});

#[test]
fn dependencies_point_down() {
    let place = |layer: &str| LAYERS.iter().position(|name| *name == layer);
    let mut seen = 0;
    for used in USED.iter() {
        let Some(other) = used.of_ours().and_then(place) else { continue };
        seen += 1;
        assert!(!LEAVES.contains(&used.layer()), "a leaf uses no layer: {used}");
        if let Some(own) = place(used.layer()) {
            assert!(other >= own, "{} must not use {}: {used}", LAYERS[own], LAYERS[other]);
        }
    }
    assert!(seen > 1000, "only {seen} uses were found: the test reads the wrong files");
}

#[test]
fn only_the_server_knows_tonic_and_hyper() {
    for used in USED.iter().filter(|used| used.layer() != "server") {
        assert!(!["tonic", "hyper", "hyper_util"].iter().any(|name| used.is_in(name)), "{used}");
    }
}

#[test]
fn layers_do_not_know_what_is_not_theirs() {
    for (layer, module, allowed) in UNKNOWN {
        for used in USED.iter().filter(|used| used.layer() == layer && used.is_in(module)) {
            assert!(allowed.iter().any(|path| used.is_in(path)), "{used}");
        }
    }
}

#[test]
fn paths_are_read_with_all_of_their_branches() {
    let text = "use super::super::{a::B, c::{self, D as E}}; fn f() { crate::g::h(super::i::j()); }";
    let mut used = Vec::new();
    let user = ["x", "y", "z"].map(str::to_owned).to_vec();
    Paths { user, used: &mut used }.visit_file(&syn::parse_file(text).unwrap());
    let paths: Vec<_> = used.iter().map(|used| used.path.join("::")).collect();
    let expected = ["crate::x::a::B", "crate::x::c", "crate::x::c::D", "crate::g::h", "crate::x::y::i::j"];
    assert_eq!(paths, expected);
}

#[test]
fn dist_takes_back_what_release_optimises_less() {
    let manifest = include_str!("../../Cargo.toml").parse::<toml::Table>().unwrap();
    let packages = |profile: &str| manifest["profile"][profile]["package"].as_table().unwrap().clone();
    let dist = packages("dist");
    for (name, settings) in packages("release") {
        assert_eq!(settings["opt-level"].as_integer(), Some(1), "{name}");
        assert_eq!(dist[&name]["opt-level"].as_integer(), Some(3), "{name}");
    }
}
