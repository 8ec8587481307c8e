//! What prost-build asks of protoc, and no more: a descriptor set of some files.
//!
//! ```text
//! protoc --include_imports --include_source_info -o OUT -I DIR … FILE …
//! ```

use std::error::Error;
use std::path::PathBuf;

use prost::Message;
use protox::Compiler;

fn main() -> Result<(), Box<dyn Error>> {
    let (mut out, mut includes, mut files) = (None, Vec::new(), Vec::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--version" => {
                println!("libprotoc 29.0 (protox)");
                return Ok(());
            }
            "-o" => out = arguments.next().map(PathBuf::from),
            "-I" => includes.extend(arguments.next().map(PathBuf::from)),
            "--include_imports" | "--include_source_info" | "--experimental_allow_proto3_optional" => {}
            other if other.starts_with('-') => return Err(format!("{other} is not supported").into()),
            file => files.push(PathBuf::from(file)),
        }
    }
    let mut compiler = Compiler::new(&includes)?;
    compiler.include_imports(true).include_source_info(true).open_files(&files)?;
    let out = out.ok_or("no -o")?;
    std::fs::write(out, compiler.file_descriptor_set().encode_to_vec())?;
    Ok(())
}
