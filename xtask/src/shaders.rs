//! `cargo xtask shaders`: each shader is valid WGSL, states in its first line what one thread or
//! fragment computes, stays within WebGPU's default limits, and translates to SPIR-V, Metal and
//! HLSL.

use std::path::Path;

use naga::back::{hlsl, msl, spv};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Module};

use crate::run::{Result, root};

/// WebGPU's default limits.
const MAX_THREADS: u32 = 256;
const MAX_STORAGE_BUFFERS: usize = 8;
const MAX_WORKGROUP_BYTES: u32 = 16 * 1024;

/// Checks every file in `shaders/`.
///
/// # Errors
/// The first shader that breaks a rule, with the reason.
pub fn check_all() -> Result<()> {
    let folder = root().join("shaders");
    let mut count = 0;
    let entries = std::fs::read_dir(&folder)
        .map_err(|e| format!("{} cannot be read: {e}", folder.display()))?;
    for entry in entries {
        let path = entry.map_err(|e| e.to_string())?.path();
        if path.extension().is_some_and(|e| e == "wgsl") {
            let text = std::fs::read_to_string(&path).map_err(|e| e.to_string())?;
            check(&text).map_err(|e| format!("{}: {e}", name(&path)))?;
            println!("{}: within WebGPU's limits; SPIR-V, Metal and HLSL", name(&path));
            count += 1;
        }
    }
    if count == 0 { Err("no shader was found".into()) } else { Ok(()) }
}

fn name(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

fn check(text: &str) -> Result<()> {
    if !["// One thread ", "// One fragment "].iter().any(|mapping| text.starts_with(mapping)) {
        return Err("the first line does not say what one thread or fragment computes".into());
    }
    let module = naga::front::wgsl::parse_str(text).map_err(|e| e.emit_to_string(text))?;
    let info = Validator::new(ValidationFlags::all(), Capabilities::empty())
        .validate(&module)
        .map_err(|e| e.emit_to_string(text))?;
    limits(&module)?;
    translations(&module, &info)
}

fn limits(module: &Module) -> Result<()> {
    for entry in &module.entry_points {
        let threads: u32 = entry.workgroup_size.iter().product();
        if threads > MAX_THREADS {
            return Err(format!(
                "{} has workgroups of {threads} threads; {MAX_THREADS} are allowed",
                entry.name
            ));
        }
    }
    let mut storage_buffers = 0;
    let mut workgroup_bytes = 0;
    for (_, variable) in module.global_variables.iter() {
        match variable.space {
            AddressSpace::Storage { .. } => storage_buffers += 1,
            AddressSpace::WorkGroup => {
                workgroup_bytes += module.types[variable.ty].inner.size(module.to_ctx());
            }
            _ => {}
        }
    }
    if storage_buffers > MAX_STORAGE_BUFFERS {
        return Err(format!(
            "{storage_buffers} storage buffers; {MAX_STORAGE_BUFFERS} are allowed"
        ));
    }
    if workgroup_bytes > MAX_WORKGROUP_BYTES {
        return Err(format!(
            "{workgroup_bytes} bytes of workgroup memory; {MAX_WORKGROUP_BYTES} are allowed"
        ));
    }
    Ok(())
}

/// Translates with the defaults of pipeline-overridable constants.
fn translations(module: &Module, info: &ModuleInfo) -> Result<()> {
    let none = naga::back::PipelineConstants::default();
    let (module, info) =
        naga::back::pipeline_constants::process_overrides(module, info, None, &none)
            .map_err(|e| format!("overrides: {e}"))?;
    spv::write_vec(&module, &info, &spv::Options::default(), None)
        .map_err(|e| format!("SPIR-V: {e}"))?;
    let options = msl::Options {
        lang_version: (2, 4),
        fake_missing_bindings: true,
        ..msl::Options::default()
    };
    msl::write_string(&module, &info, &options, &msl::PipelineOptions::default())
        .map_err(|e| format!("Metal: {e}"))?;
    let mut text = String::new();
    let options = hlsl::Options { fake_missing_bindings: true, ..hlsl::Options::default() };
    let pipeline = hlsl::PipelineOptions::default();
    hlsl::Writer::new(&mut text, &options, &pipeline)
        .write(&module, &info, None)
        .map_err(|e| format!("HLSL: {e}"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_catch_what_they_are_for() {
        let shader = |threads: u32, shared: u32| {
            format!(
                "// One thread does nothing.\nvar<workgroup> w: array<u32, {shared}>;\n\
                 @compute @workgroup_size({threads}) fn main() {{ w[0] = 1u; }}"
            )
        };
        assert_eq!(check(&shader(64, 16)), Ok(()));
        assert!(check(&shader(257, 16)).is_err_and(|e| e.contains("threads")));
        assert!(check(&shader(64, 5000)).is_err_and(|e| e.contains("workgroup memory")));
        assert!(check("// One thread errs.\nfn main( {").is_err());
        assert!(check(&shader(64, 16)[3..]).is_err_and(|e| e.contains("first line")));
        let buffers: String = (0..9)
            .map(|i| format!("@group(0) @binding({i}) var<storage, read> b{i}: array<u32>;\n"))
            .collect();
        let many = format!(
            "// One thread reads much.\n{buffers}@compute @workgroup_size(1) fn main() {{}}"
        );
        assert!(check(&many).is_err_and(|e| e.contains("storage buffers")));
    }

    #[test]
    fn every_shader_passes() {
        assert_eq!(check_all(), Ok(()));
    }
}
