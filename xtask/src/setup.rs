//! Finds the tools that the checks need and installs what it can: rustup components, `PyPI` and
//! crates.io tools into `target/tools`, and on Debian and Ubuntu (as root or with sudo) system
//! packages. What it cannot install it names.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{Result, cargo, output_of, root, run, works};
use crate::web::TARGET;

/// Versions are pinned so that a new release cannot change a result.
const CARGO_DENY: &str = "0.20.2";
const TYPOS: &str = "1.52.0";
/// Debian's Rust for wasm32, used where rustup cannot add the target.
const WEB_PACKAGES: [&str; 5] =
    ["rustc-web", "cargo-web", "rust-web-src", "rust-web-clippy", "lld-19"];
/// Chromium contains SwiftShader, a Vulkan driver on the CPU with correct results.
const VULKAN_PACKAGES: [&str; 2] = ["chromium", "libvulkan1"];
/// A virtual display, a tool that sends input to it and one that takes screenshots, a Vulkan driver
/// that can present in its windows, and the libraries that winit loads at run time.
const WINDOW_PACKAGES: [&str; 8] = [
    "xvfb",
    "xdotool",
    "imagemagick",
    "mesa-vulkan-drivers",
    "libxkbcommon-x11-0",
    "libxcursor1",
    "libxi6",
    "libxrandr2",
];
/// Oldest major version of node with the test runner in use.
const NODE: u32 = 20;
const CHROMIUMS: [&str; 4] = [
    "/usr/bin/chromium",
    "/usr/bin/chromium-browser",
    "/usr/bin/google-chrome",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
];
const SWIFTSHADER: &str = "/usr/lib/chromium/vk_swiftshader_icd.json";
/// Folder of Mesa's driver descriptions.
const VULKAN_DRIVERS: &str = "/usr/share/vulkan/icd.d";
/// Modules of the tools' Python: other readers of models and slides.
const PYTHON_IMPORTS: &str = "import safetensors, numpy, onnxruntime, cv2, bioimageio.core\n\
     import openslide, tifffile, imagecodecs, shapely, zarr";
const PYTHON_PACKAGES: [&str; 12] = [
    "safetensors",
    "numpy",
    "onnxruntime",
    // The version that QuPath 0.7 ships, which ignores dilated pooling.
    "opencv-python-headless==4.11.0.86",
    // Its form check fails by itself with later versions of pydantic.
    "bioimageio.core==0.11.0",
    "pydantic==2.12.5",
    "openslide-python",
    "openslide-bin",
    "tifffile",
    "imagecodecs",
    "shapely",
    "zarr==3.1.6",
];

/// How wasm32 code is compiled here.
pub enum WebCompiler {
    /// By the running toolchain.
    Rustup,
    /// By Debian's, which must build its own standard library.
    Debian,
}

/// The tools, each with the reason where it is missing.
pub struct Tools {
    pub web: Result<WebCompiler>,
    pub deny: Result<PathBuf>,
    pub typos: Result<PathBuf>,
    /// A Python with [`PYTHON_PACKAGES`].
    pub python: Result<PathBuf>,
    /// A Chromium; node and the packages of `tests/e2e` are installed too.
    pub browser: Result<PathBuf>,
    /// A Vulkan driver description for the GPU tests; none where that of a real adapter is used.
    pub vulkan: Result<Option<PathBuf>>,
    /// A display for the window's test, which reports a missing one itself.
    pub window: Result<()>,
}

impl Tools {
    /// Prints which tools there are.
    pub fn print(&self) {
        print_tool("wasm32 compiler", self.web.as_ref().err());
        print_tool("cargo-deny", self.deny.as_ref().err());
        print_tool("typos", self.typos.as_ref().err());
        print_tool(
            "Python with safetensors, onnxruntime, OpenCV, bioimageio, openslide, shapely",
            self.python.as_ref().err(),
        );
        print_tool("Chromium with node", self.browser.as_ref().err());
        print_tool("Vulkan driver", self.vulkan.as_ref().err());
        print_tool("display for the window", self.window.as_ref().err());
    }
}

fn print_tool(name: &str, missing: Option<&String>) {
    match missing {
        None => println!("{name}: ready"),
        Some(reason) => println!("{name}: missing: {reason}"),
    }
}

/// Finds or installs every tool.
///
/// # Errors
/// When rustfmt or Clippy is missing; other tools may be.
pub fn everything() -> Result<Tools> {
    cargo_component("rustfmt", "fmt")?;
    cargo_component("clippy", "clippy")?;
    Ok(Tools {
        web: web(),
        deny: deny(),
        typos: python_tool("typos"),
        python: python_tool("python"),
        browser: browser(),
        vulkan: vulkan(),
        window: window(),
    })
}

/// A rustup component by its name and its cargo command.
fn cargo_component(component: &str, command: &str) -> Result<()> {
    if works("cargo", &[command, "--version"]) || works("rustup", &["component", "add", component])
    {
        return Ok(());
    }
    Err(format!("{component} is missing; install it with 'rustup component add {component}'"))
}

/// A compiler for wasm32.
///
/// # Errors
/// What to install.
pub fn web() -> Result<WebCompiler> {
    let sysroot = output_of("rustc", &["--print", "sysroot"]).unwrap_or_default();
    let has_target = PathBuf::from(sysroot).join("lib/rustlib").join(TARGET).is_dir();
    if has_target || works("rustup", &["target", "add", TARGET]) {
        return Ok(WebCompiler::Rustup);
    }
    if !has_debian_compiler() {
        apt(&WEB_PACKAGES)?;
    }
    if has_debian_compiler() {
        return Ok(WebCompiler::Debian);
    }
    Err("'rustup target add wasm32-unknown-unknown' failed".into())
}

fn has_debian_compiler() -> bool {
    works("/usr/bin/cargo", &["clippy", "--version"]) && works("wasm-ld-19", &["--version"])
}

fn deny() -> Result<PathBuf> {
    let installed = root().join("target/tools/bin/cargo-deny");
    for program in [Path::new("cargo-deny"), &installed] {
        let version = output_of(&program.to_string_lossy(), &["--version"]);
        if version.is_some_and(|v| v.ends_with(CARGO_DENY)) {
            return Ok(program.to_path_buf());
        }
    }
    let version = format!("cargo-deny@{CARGO_DENY}");
    // A debug build takes half the time to build, and it runs for a second.
    run(cargo(&["install", "--quiet", "--locked", "--debug"]).args([
        "--root",
        "target/tools",
        &version,
    ]))?;
    Ok(installed)
}

/// A program of the virtual environment of Python tools.
fn python_tool(name: &str) -> Result<PathBuf> {
    let environment = root().join("target/tools/python");
    if !has_python_tools(&environment) {
        run(Command::new("python3").args(["-m", "venv"]).arg(&environment))
            .map_err(|_| "on Debian or Ubuntu: apt-get install python3-venv".to_owned())?;
        run(Command::new(environment.join("bin/pip"))
            .args(["install", "--quiet", &format!("typos=={TYPOS}")])
            .args(PYTHON_PACKAGES))?;
    }
    let program = environment.join("bin").join(name);
    if has_python_tools(&environment) {
        return Ok(program);
    }
    Err(format!("{} does not run", program.display()))
}

fn has_python_tools(environment: &Path) -> bool {
    let typos = environment.join("bin/typos");
    let python = environment.join("bin/python");
    works(&typos.to_string_lossy(), &["--version"])
        && works(&python.to_string_lossy(), &["-c", PYTHON_IMPORTS])
}

fn vulkan() -> Result<Option<PathBuf>> {
    if std::env::var_os("VK_DRIVER_FILES").is_some() || cfg!(any(target_os = "macos", windows)) {
        return Ok(None);
    }
    if !has_swiftshader() {
        apt(&VULKAN_PACKAGES)?;
    }
    if has_swiftshader() {
        return Ok(Some(PathBuf::from(SWIFTSHADER)));
    }
    Err(format!("{SWIFTSHADER} or libvulkan.so.1 is missing"))
}

fn has_swiftshader() -> bool {
    let libraries = output_of("ldconfig", &["-p"]).unwrap_or_default();
    Path::new(SWIFTSHADER).is_file() && libraries.contains("libvulkan.so.1")
}

fn window() -> Result<()> {
    if cfg!(any(target_os = "macos", windows)) {
        return Ok(());
    }
    if !has_display() {
        apt(&WINDOW_PACKAGES)?;
    }
    if has_display() {
        return Ok(());
    }
    Err("Xvfb, xdotool, ImageMagick or Mesa's Vulkan driver is missing".into())
}

fn has_display() -> bool {
    has_lavapipe()
        && works("xdotool", &["version"])
        && works("import", &["-version"])
        && works("which", &["Xvfb"])
}

/// Whether Mesa's software driver is installed: `lvp_icd.*.json`.
fn has_lavapipe() -> bool {
    let Ok(entries) = std::fs::read_dir(VULKAN_DRIVERS) else { return false };
    entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("lvp"))
}

/// A Chromium for the page's tests, with node and the packages of `tests/e2e`.
///
/// # Errors
/// What to install.
pub fn browser() -> Result<PathBuf> {
    if !has_node() || !works("npm", &["--version"]) {
        apt(&["nodejs", "npm"])?;
    }
    if !has_node() {
        return Err(format!("node {NODE} or later is missing; see https://nodejs.org"));
    }
    if chromium().is_none() {
        apt(&["chromium"])?;
    }
    let chromium =
        chromium().ok_or("Chromium is missing; install it or name it in PRUNELLA_CHROMIUM")?;
    run(Command::new("npm")
        .args(["ci", "--silent", "--no-audit", "--no-fund"])
        .args(["--prefix", "tests/e2e"]))
    .map_err(|e| format!("the packages of tests/e2e cannot be installed: {e}"))?;
    Ok(chromium)
}

/// Whether node is recent enough; its version reads `v20.1.0`.
fn has_node() -> bool {
    let version = output_of("node", &["--version"]).unwrap_or_default();
    let major = version.trim_start_matches('v').split('.').next().unwrap_or_default();
    major.parse::<u32>().is_ok_and(|major| major >= NODE)
}

/// The Chromium named in `PRUNELLA_CHROMIUM`, else an installed one.
fn chromium() -> Option<PathBuf> {
    let mut candidates = Vec::new();
    candidates.extend(std::env::var_os("PRUNELLA_CHROMIUM").map(PathBuf::from));
    candidates.extend(CHROMIUMS.map(PathBuf::from));
    candidates.into_iter().find(|program| program.is_file())
}

/// Installs Debian packages.
///
/// # Errors
/// The command that installs them, where this cannot run it.
fn apt(packages: &[&str]) -> Result<()> {
    let advice = format!("on Debian or Ubuntu: apt-get install {}", packages.join(" "));
    if !works("apt-get", &["--version"]) {
        return Err(advice);
    }
    let is_root = output_of("id", &["-u"]).is_some_and(|id| id == "0");
    if !is_root && !works("sudo", &["-n", "true"]) {
        return Err(advice);
    }
    // An outdated list of packages still serves where there is no network.
    drop(run(apt_get(is_root).args(["update", "-qq"])));
    run(apt_get(is_root).args(["install", "-y", "-qq", "--no-install-recommends"]).args(packages))
        .map_err(|_| advice)
}

fn apt_get(is_root: bool) -> Command {
    let mut command = if is_root { Command::new("apt-get") } else { Command::new("sudo") };
    if !is_root {
        command.arg("apt-get");
    }
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}
