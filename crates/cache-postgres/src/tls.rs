//! Encrypted connections, by rustls.

use std::{path::Path, sync::Arc};

use cache_core::{Error, ErrorKind, Result};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio_postgres_rustls::MakeRustlsConnect;

/// What makes TLS sessions that trust the authorities of the file `roots`, or those of the web.
///
/// # Errors
///
/// [`ErrorKind::Config`] when the file cannot be read or holds no certificate.
pub(crate) fn connector(roots: Option<&Path>) -> Result<MakeRustlsConnect> {
    let roots = match roots {
        Some(path) => read(path)?,
        None => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
    };
    // The provider is named here, because a program that has two of them panics when none is.
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::new(ErrorKind::Internal, "cannot set up TLS").caused_by(e))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

fn read(path: &Path) -> Result<RootCertStore> {
    let unusable = |fault: String| {
        let message = format!("cannot use `sslrootcert` {}: {fault}", path.display());
        Error::new(ErrorKind::Config, message).hint("name a file of PEM certificates")
    };
    let mut store = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(path).map_err(|e| unusable(e.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|e| unusable(e.to_string()))?;
        store.add(certificate).map_err(|e| unusable(e.to_string()))?;
    }
    if store.is_empty() {
        return Err(unusable("it holds no certificate".to_owned()));
    }
    Ok(store)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authorities_of_the_web_need_no_file() {
        assert!(connector(None).is_ok());
    }

    #[test]
    fn a_file_without_certificates_is_refused_by_its_name() {
        for path in ["no/such/file.pem", "Cargo.toml"] {
            let error = connector(Some(Path::new(path))).map(|_| ()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains(path), "{error}");
        }
    }
}
