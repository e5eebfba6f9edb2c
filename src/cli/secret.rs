//! Secrets that the configuration names: environment variables and files.

use secrecy::SecretString;

use crate::config::SecretSource;

/// The secret at `source`.
///
/// # Errors
/// What is not there or empty, and what to do.
pub fn read(source: &SecretSource) -> Result<SecretString, String> {
    let (text, whence) = match source {
        SecretSource::Env(name) => {
            let value = std::env::var(name);
            let text = value.map_err(|error| format!("the environment variable {name} cannot be read: {error}"))?;
            (text, format!("the environment variable {name}"))
        }
        SecretSource::File(path) => {
            let text = std::fs::read_to_string(path);
            let text = text.map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
            (text.trim_end_matches(['\r', '\n']).to_owned(), path.display().to_string())
        }
    };
    if text.is_empty() { Err(format!("{whence} is empty")) } else { Ok(text.into()) }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_secret_comes_from_a_file_without_its_line_end_and_what_is_missing_is_named() {
        let path = std::env::temp_dir().join(format!("trunkstream-secret-{}", std::process::id()));
        std::fs::write(&path, "two words \r\n").expect("a temporary file");
        let secret = read(&SecretSource::File(path.clone())).expect("a secret");
        std::fs::write(&path, "\n").expect("a temporary file");
        let empty = read(&SecretSource::File(path.clone()));
        std::fs::remove_file(&path).expect("our own file");
        assert_eq!(secret.expose_secret(), "two words ");
        assert!(empty.is_err_and(|error| error.ends_with("is empty")));
        assert!(read(&SecretSource::File(path)).is_err_and(|error| error.contains("cannot be read")));
        let nowhere = read(&SecretSource::Env("TRUNKSTREAM_NO_SUCH_VARIABLE".into()));
        assert!(nowhere.is_err_and(|error| error.contains("TRUNKSTREAM_NO_SUCH_VARIABLE")));
    }
}
