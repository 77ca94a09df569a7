//! A directory nobody else can read or have prepared, for as long as the C library needs files to load.
//! Removed when dropped.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// The directory.
pub(crate) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Creates it, readable by this user only. A name that is already taken is never used.
    pub(crate) fn create() -> io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("tandem-stt-{}-{number}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self { path }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes a file into it.
    pub(crate) fn write(&self, name: &str, content: &str) -> io::Result<PathBuf> {
        let path = self.path.join(name);
        fs::write(&path, content)?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing can be done about a file that is left behind in the temporary directory.
        let _ = fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_private_and_leaves_nothing_behind() {
        use std::os::unix::fs::PermissionsExt;
        let scratch = Scratch::create().expect("the temporary directory is writable");
        let file = scratch.write("a", "b").expect("just created");
        let mode = fs::metadata(&scratch.path).expect("it exists").permissions().mode();
        assert_eq!(mode & 0o077, 0);
        drop(scratch);
        assert!(!file.exists());
    }
}
