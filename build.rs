//! Packs the live page: style and scripts into one file, its hashes into a policy, all of it compressed.
//!
//! The same sources give the same bytes on every machine, as those of the module have to be.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use base64::Engine as _;

/// Where the page's parts are.
const PAGE: &str = "src/control/page";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={PAGE}");
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let to = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let page = root.join(PAGE);
    let style = fs::read_to_string(page.join("style.css"))?;
    let script = scripts(&page.join("script"))?;
    let frame = fs::read_to_string(page.join("page.html"))?;
    let html = frame.replace("/*style*/", &style).replace("/*script*/", &script);
    // What is inside the tags is what a browser hashes.
    let policy = format!(
        "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
        hash(&script),
        hash(&style)
    );
    fs::write(to.join("page.gz"), gzip(html.as_bytes()))?;
    fs::write(to.join("page.policy"), policy)?;
    fs::write(to.join("page.length"), html.len().to_string())
}

/// All scripts in the order of their names, which begin with a number.
fn scripts(folder: &Path) -> io::Result<String> {
    let mut files = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "js"));
    files.sort();
    files.iter().map(fs::read_to_string).collect()
}

/// A part's hash as a content security policy writes it.
fn hash(part: &str) -> String {
    let digest = hmac_sha256::Hash::hash(part.as_bytes());
    format!("'sha256-{}'", base64::engine::general_purpose::STANDARD.encode(digest))
}

/// RFC 1952, without a time or a name.
fn gzip(data: &[u8]) -> Vec<u8> {
    let mut packed = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 255];
    packed.extend(miniz_oxide::deflate::compress_to_vec(data, 10));
    packed.extend(crc32(data).to_le_bytes());
    #[allow(clippy::cast_possible_truncation)] // modulo 2^32, as the RFC says
    packed.extend((data.len() as u32).to_le_bytes());
    packed
}

fn crc32(data: &[u8]) -> u32 {
    !data.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}
