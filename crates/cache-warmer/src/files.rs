//! Files that a person names.

use std::{fs::File, io::Read, path::Path};

use cache_core::{ByteSize, Error, ErrorKind, Result};

/// Reads a whole file of at most `bytes_max`. `what` says what it should be; it blocks.
pub(crate) fn read(what: &str, path: &Path, bytes_max: ByteSize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // Not the file's own length, which a pipe or a growing file does not tell.
    File::open(path)
        .and_then(|file| file.take(bytes_max.as_u64().saturating_add(1)).read_to_end(&mut bytes))
        .map_err(|e| {
            Error::new(ErrorKind::Config, format!("cannot read {what} `{}`: {e}", path.display()))
                .hint("check its name and its permissions")
                .caused_by(e)
        })?;
    if bytes.len() as u64 > bytes_max.as_u64() {
        let message = format!("{what} `{}` is larger than {bytes_max}", path.display());
        return Err(Error::new(ErrorKind::TooLarge, message).hint("split it, or raise the limit"));
    }
    Ok(bytes)
}
