//! Copies two files from Swagger UI's release to gzip files (RFC 1952). Zip and gzip have the same
//! compressed format (RFC 1951), so nothing is decompressed.

use std::error::Error;
use std::io::{Cursor, Read as _};
use std::path::PathBuf;
use std::{env, fs};

use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;
use zip::{CompressionMethod, ZipArchive};

const FILES: [&str; 2] = ["swagger-ui-bundle.js", "swagger-ui.css"];

/// Deflated, without a name or a time, made on an unknown system (RFC 1952 2.3).
const GZIP_HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

#[expect(clippy::disallowed_methods, reason = "cargo names the folder in a variable")]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    let mut archive = ZipArchive::new(Cursor::new(SWAGGER_UI_VENDORED))?;
    let folder = archive.by_index_raw(0)?.name()?.trim_end_matches('/').to_owned();
    let version = folder.strip_prefix("swagger-ui-").ok_or("the folder has the version")?;
    println!("cargo::rustc-env=SWAGGER_UI_VERSION={version}");
    for name in FILES {
        let path = format!("{folder}/dist/{name}");
        let index = archive.index_for_name(&path).ok_or_else(|| format!("no {path}"))?;
        let mut file = archive.by_index_raw(index)?;
        if file.compression() != CompressionMethod::DEFLATE {
            return Err(format!("{path} is not deflated").into());
        }
        let size = u32::try_from(file.size())?;
        let mut gzip = GZIP_HEAD.to_vec();
        file.read_to_end(&mut gzip)?;
        gzip.extend(file.crc32().to_le_bytes());
        gzip.extend(size.to_le_bytes());
        fs::write(out.join(format!("{name}.gz")), gzip)?;
    }
    Ok(())
}
