//! Finds the tools that the checks need and installs what it can: rustup components, `PyPI` and
//! crates.io tools into `target/tools`, and on Debian and Ubuntu (as root or with sudo) system
//! packages. What it cannot install it names.

use std::path::PathBuf;
use std::process::Command;

use crate::run::{Result, cargo, output_of, root, run, works};
use crate::web::TARGET;

/// Pinned so that a new release cannot change a verdict.
const CARGO_DENY: &str = "0.20.2";
const TYPOS: &str = "1.52.0";
/// Debian's compiler for the web, where rustup cannot add its target.
const WEB_PACKAGES: [&str; 5] =
    ["rustc-web", "cargo-web", "rust-web-src", "rust-web-clippy", "lld-19"];
/// Chromium brings SwiftShader, a Vulkan driver on the CPU that computes right.
const VULKAN_PACKAGES: [&str; 2] = ["chromium", "libvulkan1"];
/// A display without a screen, a hand for it, a driver that draws in its windows, and what winit
/// loads at run time.
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
/// node's test runner is used.
const NODE: u32 = 20;
const CHROMIUMS: [&str; 4] = [
    "/usr/bin/chromium",
    "/usr/bin/chromium-browser",
    "/usr/bin/google-chrome",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
];
const SWIFTSHADER: &str = "/usr/lib/chromium/vk_swiftshader_icd.json";

/// How wasm32 code is compiled here.
pub enum Web {
    /// By the running toolchain.
    Rustup,
    /// By Debian's, which builds its own standard library.
    Debian,
}

/// What was found; each absent tool with the reason.
pub struct Tools {
    pub web: std::result::Result<Web, String>,
    pub deny: std::result::Result<PathBuf, String>,
    pub typos: std::result::Result<PathBuf, String>,
    /// A Python with `safetensors`, `onnxruntime` and `openslide`, the other readers of models and
    /// slides.
    pub python: std::result::Result<PathBuf, String>,
    /// A browser; node and its packages are there too.
    pub browser: std::result::Result<PathBuf, String>,
    /// A Vulkan driver description for the GPU tests; none where a real adapter's is used.
    pub vulkan: std::result::Result<Option<PathBuf>, String>,
    /// A display for the window's test; its absence is that test's to tell.
    pub window: Result<()>,
}

impl Tools {
    pub fn describe(&self) {
        let line = |name: &str, missing: Option<&String>| match missing {
            None => println!("{name}: ready"),
            Some(why) => println!("{name}: missing: {why}"),
        };
        line("wasm32 compiler", self.web.as_ref().err());
        line("cargo-deny", self.deny.as_ref().err());
        line("typos", self.typos.as_ref().err());
        line("Python with safetensors, onnxruntime and openslide", self.python.as_ref().err());
        line("Chromium with node", self.browser.as_ref().err());
        line("Vulkan driver", self.vulkan.as_ref().err());
        line("display for the window", self.window.as_ref().err());
    }
}

/// Sets up everything.
pub fn everything() -> Result<Tools> {
    for component in ["rustfmt", "clippy"] {
        let present =
            works("cargo", &[if component == "rustfmt" { "fmt" } else { "clippy" }, "--version"]);
        if !present && !works("rustup", &["component", "add", component]) {
            return Err(format!(
                "{component} is missing; install it with 'rustup component add {component}'"
            ));
        }
    }
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

/// A compiler for the web, set up if need be.
pub fn web() -> std::result::Result<Web, String> {
    let sysroot = output_of("rustc", &["--print", "sysroot"]).unwrap_or_default();
    if PathBuf::from(sysroot).join("lib/rustlib").join(TARGET).is_dir()
        || works("rustup", &["target", "add", TARGET])
    {
        return Ok(Web::Rustup);
    }
    let ready =
        || works("/usr/bin/cargo", &["clippy", "--version"]) && works("wasm-ld-19", &["--version"]);
    if !ready() {
        apt(&WEB_PACKAGES)?;
    }
    if ready() {
        Ok(Web::Debian)
    } else {
        Err("'rustup target add wasm32-unknown-unknown' failed".into())
    }
}

fn deny() -> std::result::Result<PathBuf, String> {
    let own = root().join("target/tools/bin/cargo-deny");
    for candidate in [PathBuf::from("cargo-deny"), own.clone()] {
        if output_of(&candidate.to_string_lossy(), &["--version"])
            .is_some_and(|v| v.ends_with(CARGO_DENY))
        {
            return Ok(candidate);
        }
    }
    let version = format!("cargo-deny@{CARGO_DENY}");
    // Debug: it runs for a second and builds in half the time.
    run(&mut cargo(&[
        "install",
        "--quiet",
        "--locked",
        "--debug",
        "--root",
        "target/tools",
        &version,
    ]))?;
    Ok(own)
}

/// A program of a virtual environment that holds the tools that come from Python.
fn python_tool(name: &str) -> std::result::Result<PathBuf, String> {
    let venv = root().join("target/tools/python");
    let own = venv.join("bin").join(name);
    let ready = || {
        works(&venv.join("bin/typos").to_string_lossy(), &["--version"])
            && works(
                &venv.join("bin/python").to_string_lossy(),
                &["-c", "import safetensors, numpy, onnxruntime, openslide"],
            )
    };
    if !ready() {
        let advice = || "on Debian or Ubuntu: apt-get install python3-venv".to_owned();
        run(Command::new("python3").args(["-m", "venv"]).arg(&venv)).map_err(|_| advice())?;
        let readers = ["safetensors", "numpy", "onnxruntime", "openslide-python", "openslide-bin"];
        let tools = [format!("typos=={TYPOS}")].into_iter().chain(readers.map(str::to_owned));
        run(Command::new(venv.join("bin/pip")).args(["install", "--quiet"]).args(tools))?;
    }
    if ready() { Ok(own) } else { Err(format!("{} does not run", own.display())) }
}

fn vulkan() -> std::result::Result<Option<PathBuf>, String> {
    if std::env::var_os("VK_DRIVER_FILES").is_some() || cfg!(any(target_os = "macos", windows)) {
        return Ok(None);
    }
    let driver = PathBuf::from(SWIFTSHADER);
    let loader =
        || output_of("ldconfig", &["-p"]).is_some_and(|list| list.contains("libvulkan.so.1"));
    if !driver.is_file() || !loader() {
        apt(&VULKAN_PACKAGES)?;
    }
    if driver.is_file() && loader() {
        Ok(Some(driver))
    } else {
        Err(format!("{SWIFTSHADER} is not there"))
    }
}

fn window() -> Result<()> {
    if cfg!(any(target_os = "macos", windows)) {
        return Ok(());
    }
    let driver = PathBuf::from("/usr/share/vulkan/icd.d");
    let ready = || {
        let drawn = std::fs::read_dir(&driver).is_ok_and(|mut all| {
            all.any(|entry| entry.is_ok_and(|e| e.file_name().to_string_lossy().starts_with("lvp")))
        });
        drawn
            && works("xdotool", &["version"])
            && works("import", &["-version"])
            && works("which", &["Xvfb"])
    };
    if !ready() {
        apt(&WINDOW_PACKAGES)?;
    }
    if ready() {
        Ok(())
    } else {
        Err("Xvfb, xdotool, ImageMagick or Mesa's Vulkan driver is missing".into())
    }
}

/// A Chromium that the page is tried in, with node and the packages of `tests/e2e`.
pub fn browser() -> std::result::Result<PathBuf, String> {
    let major = || {
        output_of("node", &["--version"])?
            .trim_start_matches('v')
            .split('.')
            .next()?
            .parse::<u32>()
            .ok()
    };
    if major().is_none_or(|v| v < NODE) || !works("npm", &["--version"]) {
        apt(&["nodejs", "npm"])?;
    }
    if major().is_none_or(|v| v < NODE) {
        return Err(format!("node {NODE} or later is missing; see https://nodejs.org"));
    }
    let given = std::env::var_os("PRUNELLA_CHROMIUM").map(PathBuf::from);
    let found =
        || given.clone().into_iter().chain(CHROMIUMS.map(PathBuf::from)).find(|p| p.is_file());
    if found().is_none() {
        apt(&["chromium"])?;
    }
    let chromium =
        found().ok_or("Chromium is missing; install it or name it in PRUNELLA_CHROMIUM")?;
    run(Command::new("npm").args([
        "ci",
        "--silent",
        "--no-audit",
        "--no-fund",
        "--prefix",
        "tests/e2e",
    ]))
    .map_err(|e| format!("the packages of tests/e2e cannot be installed: {e}"))?;
    Ok(chromium)
}

/// Installs Debian packages, or says which ones to install.
fn apt(packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    let advice = format!("on Debian or Ubuntu: apt-get install {list}");
    if !works("apt-get", &["--version"]) {
        return Err(advice);
    }
    let root_user = output_of("id", &["-u"]).is_some_and(|id| id == "0");
    if !root_user && !works("sudo", &["-n", "true"]) {
        return Err(advice);
    }
    let apt_get = |arguments: &[&str]| {
        let mut command = if root_user { Command::new("apt-get") } else { Command::new("sudo") };
        if !root_user {
            command.arg("apt-get");
        }
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    // An outdated list still serves where the network is away.
    drop(run(&mut apt_get(&["update", "-qq"])));
    run(&mut apt_get(&[&["install", "-y", "-qq", "--no-install-recommends"], packages].concat()))
        .map_err(|_| advice)
}
