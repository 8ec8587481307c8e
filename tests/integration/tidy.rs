//! The shape of the source: who may use whom.

use std::path::{Path, PathBuf};

/// From the top down: a module uses those after it, never those before it.
const LAYERS: [&str; 6] = ["cli", "config", "server", "engine", "catalog", "storage"];

/// What all layers use, and uses none of them.
const LEAVES: [&str; 2] = ["src/error.rs", "src/safeguard.rs"];

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

/// The layer that a source file belongs to.
fn layer(file: &Path, src: &Path) -> Option<usize> {
    let first = file.strip_prefix(src).unwrap().components().next()?.as_os_str().to_str()?;
    LAYERS.iter().position(|layer| *layer == first.trim_end_matches(".rs"))
}

#[test]
fn dependencies_point_down() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut seen = 0;
    for file in sources(&src) {
        let text = std::fs::read_to_string(&file).unwrap();
        let own = layer(&file, &src);
        let is_leaf = LEAVES.iter().any(|leaf| file.ends_with(leaf));
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for (index, name) in LAYERS.iter().enumerate() {
                if !code.contains(&format!("crate::{name}::")) {
                    continue;
                }
                seen += 1;
                let place = format!("{}:{}: {line}", file.display(), number + 1);
                assert!(!is_leaf, "a leaf uses no layer: {place}");
                if let Some(own) = own {
                    assert!(index >= own, "{} must not use {name}: {place}", LAYERS[own]);
                }
            }
        }
    }
    assert!(seen > 20, "only {seen} uses were found: the test reads the wrong files");
}

#[test]
fn only_the_server_knows_tonic_and_hyper() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for file in sources(&src) {
        let text = std::fs::read_to_string(&file).unwrap();
        let in_server = file.strip_prefix(&src).unwrap().starts_with("server");
        for name in ["tonic", "hyper", "hyper_util"] {
            let path = format!("{name}::");
            let uses = text.lines().any(|line| line.split("//").next().unwrap_or_default().contains(&path));
            assert!(in_server || !uses, "{} uses {name}", file.display());
        }
    }
}
