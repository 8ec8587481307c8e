//! Compiles `proto/` with protox, so that no protoc is needed on the machine.

use std::error::Error;
use std::path::PathBuf;

use prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    let files = [
        "proto/airstrip/v1/actions.proto",
        "proto/airstrip/v1/registration.proto",
        "proto/airstrip/v1/ticket.proto",
        "proto/airstrip/v1/view.proto",
        "proto/arrow/flight/session.proto",
        "proto/arrow/flight/sql.proto",
    ];
    println!("cargo:rerun-if-changed=proto");

    let descriptors = protox::compile(files, ["proto"])?;
    let encoded = descriptors.encode_to_vec();
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), &encoded)?;

    prost_build::Config::new()
        .bytes(["."])
        .compile_well_known_types()
        .extern_path(".google.protobuf", "::pbjson_types")
        .compile_fds(descriptors)?;
    pbjson_build::Builder::new()
        .register_descriptors(&encoded)?
        .extern_path(".google.protobuf", "::pbjson_types")
        .build(&[".airstrip.v1"])?;
    Ok(())
}
