//! Where a model file's bytes come from: the engine opens no files itself.

use crate::error::Error;
use std::io;

/// Bytes of a model file, read where and when they are needed.
pub trait Source: Send + Sync {
    /// Bytes of the whole file.
    fn size(&self) -> u64;
    /// Fills `into` with the bytes from `offset` on; fewer are an error.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;
}

/// A file that lies in memory.
impl<T: AsRef<[u8]> + Send + Sync> Source for T {
    fn size(&self) -> u64 {
        self.as_ref().len() as u64
    }
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let bytes = usize::try_from(offset).ok().and_then(|from| self.as_ref().get(from..)?.get(..into.len()));
        into.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// Some bytes of a source in `into`, which is grown or cut to their number.
pub(crate) fn fetch(source: &dyn Source, offset: u64, len: usize, into: &mut Vec<u8>) -> Result<(), Error> {
    into.resize(len, 0);
    source.read_at(offset, into).map_err(|e| Error::File(format!("reading {len} bytes at {offset} failed: {e}")))
}
