//! A small transactional store: tables of bytes by number, in one file that only its owner may read. A commit is all or
//! nothing, also when the process is killed or the power fails. One process writes; others read its last commit.

use redb::{
    Builder, ConcurrencyMode, Database, DatabaseError, ReadOnlyDatabase, ReadTransaction, ReadableDatabase,
    ReadableTable, StorageError, TableDefinition, TableError,
};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

#[cfg(test)]
mod tests;

/// Bytes of the file that are kept in memory.
const CACHE: usize = 4 << 20;

/// Fills what is free in a file, for a moment.
const FILLER: TableDefinition<u64, &[u8]> = TableDefinition::new("filler");
/// Entries of it that are written at most; of an entry's size, so that each takes a page.
const FILLERS: u64 = 1 << 16;
const FILLER_BYTES: usize = 3000;

/// What can go wrong with a store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process is writing.
    #[error("{path} is being written by {by}; try again when it is done")]
    Held {
        /// The store.
        path: String,
        /// What that process said of itself.
        by: String,
    },
    /// The file is something else.
    #[error("{path} is not a store that this program can read: {why}")]
    Foreign {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// The file is damaged.
    #[error("{path} is damaged: {why}")]
    Damaged {
        /// The store.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// The disk has no room left.
    #[error("{path}: there is no room for more on the disk; nothing was changed")]
    Full {
        /// The store.
        path: String,
    },
    /// The file may not be written.
    #[error("{path} cannot be written: {why}")]
    ReadOnly {
        /// The store.
        path: String,
        /// Why.
        why: String,
    },
    /// Anything else that the system refuses.
    #[error("{path}: {why}")]
    System {
        /// The store.
        path: String,
        /// Why.
        why: String,
    },
}

/// One of the changes that are made together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// Sets an entry.
    Put(&'a str, u64, &'a [u8]),
    /// Removes an entry, if there is one.
    Delete(&'a str, u64),
    /// Removes all entries of a table.
    Clear(&'a str),
}

/// A change that a mirrored store made, on its way to where it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// The table.
    pub table: String,
    /// The entry; none where the whole table was cleared.
    pub key: Option<u64>,
    /// What the entry holds now; none where it was removed.
    pub value: Option<Vec<u8>>,
}

enum Handle {
    Writer(Database),
    Reader(ReadOnlyDatabase),
}

/// An open store.
pub struct Store {
    handle: Handle,
    path: PathBuf,
    /// Says who writes, for as long as it does.
    owner: Option<PathBuf>,
    lasts: bool,
    /// What was changed since somebody last asked, where somebody else keeps it.
    made: Option<Mutex<Vec<Made>>>,
}

/// A store as it was at one moment: what is committed later is not seen.
pub struct Snapshot<'a> {
    store: &'a Store,
    transaction: ReadTransaction,
}

impl std::fmt::Debug for Snapshot<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Snapshot({})", self.store.path.display())
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Some(owner) = &self.owner {
            // What is left behind only misleads a message.
            let _ = fs::remove_file(owner);
        }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({})", self.path.display())
    }
}

fn table(name: &str) -> TableDefinition<'_, u64, &'static [u8]> {
    TableDefinition::new(name)
}

/// Beside the store: who writes it.
fn owner_file(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".writer");
    name.into()
}

/// A new file that nobody else may read.
fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Makes a store where there is none, elsewhere first: one whose making was cut short would never open again.
fn make(path: &Path) -> Result<(), StoreError> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = PathBuf::from(name);
    let made = || {
        drop(create_private(&new).map_err(|e| io_error(path, &e))?);
        drop(builder().create(&new).map_err(|e| open_error(path, e))?);
        // Another process may have been faster, and then its store stays. Where a file system has no links, the store
        // is made in place.
        let linked = fs::hard_link(&new, path);
        if let (Ok(()), Some(Ok(folder))) = (linked, path.parent().map(File::open)) {
            // Systems that cannot sync a folder need not.
            let _ = folder.sync_all();
        }
        Ok(())
    };
    let _ = fs::remove_file(&new);
    let made = made();
    let _ = fs::remove_file(&new);
    made
}

impl Store {
    /// Opens a store for writing, making it where there is none. `who` is what others are told of this process.
    pub fn open(path: &Path, who: &str) -> Result<Self, StoreError> {
        let system = |e: io::Error| io_error(path, &e);
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder).map_err(system)?;
        }
        if !path.exists() {
            make(path)?;
        }
        drop(create_private(path).map_err(system)?);
        let database = builder().create(path).map_err(|e| open_error(path, e))?;
        let owner = owner_file(path);
        // Without it others are told less, no more.
        let owner = fs::write(&owner, who).is_ok().then_some(owner);
        Ok(Self { handle: Handle::Writer(database), path: path.into(), owner, lasts: true, made: None })
    }

    /// Opens a store for reading, beside its writer if there is one. None where there is no store.
    pub fn open_to_read(path: &Path) -> Result<Option<Self>, StoreError> {
        // A file without a byte is a store that nothing was ever written to.
        match fs::metadata(path) {
            Ok(about) if about.len() > 0 => {}
            Ok(_) => return Ok(None),
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(io_error(path, &e)),
        }
        let database = match builder().open_read_only(path) {
            // Its writer was killed: what was left half done is put right, as whoever writes next would do it.
            Err(DatabaseError::RepairAborted) => {
                drop(builder().open(path).map_err(|e| open_error(path, e))?);
                builder().open_read_only(path)
            }
            other => other,
        };
        let database = database.map_err(|e| open_error(path, e))?;
        Ok(Some(Self { handle: Handle::Reader(database), path: path.into(), owner: None, lasts: true, made: None }))
    }

    /// A store in memory alone.
    pub fn in_memory() -> Result<Self, StoreError> {
        let path = PathBuf::from("a store in memory");
        let backend = redb::backends::InMemoryBackend::new();
        let database = Builder::new().create_with_backend(backend).map_err(|e| open_error(&path, e))?;
        Ok(Self { handle: Handle::Writer(database), path, owner: None, lasts: false, made: None })
    }

    /// A store in memory whose changes somebody else keeps, where there are no files: it begins with `entries`, each
    /// of a table, a number and a value, and notes what is changed for [`Store::take_made`].
    pub fn mirrored<'a>(entries: impl IntoIterator<Item = (&'a str, u64, &'a [u8])>) -> Result<Self, StoreError> {
        let mut store = Self::in_memory()?;
        let puts: Vec<_> = entries.into_iter().map(|(table, key, value)| Change::Put(table, key, value)).collect();
        store.commit(&puts)?;
        (store.lasts, store.made) = (true, Some(Mutex::default()));
        Ok(store)
    }

    /// What was changed in a mirrored store since this was last asked, in order. To be kept all or not at all; where
    /// it cannot be kept, this store is to be made anew from what is.
    pub fn take_made(&self) -> Vec<Made> {
        self.made.as_ref().map_or_else(Vec::new, |made| {
            std::mem::take(&mut *made.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
        })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// Whether it may be changed.
    pub fn writes(&self) -> bool {
        matches!(self.handle, Handle::Writer(_))
    }

    /// Whether it is kept when this process ends: in a file, or elsewhere by whoever mirrors it.
    pub fn lasts(&self) -> bool {
        self.lasts
    }

    /// The store as it is now: what several reads of it see belongs together.
    pub fn snapshot(&self) -> Result<Snapshot<'_>, StoreError> {
        let transaction = match &self.handle {
            Handle::Writer(database) => database.begin_read(),
            Handle::Reader(database) => database.begin_read(),
        };
        Ok(Snapshot { store: self, transaction: transaction.map_err(|e| self.error(e.into()))? })
    }

    /// An entry.
    pub fn get(&self, name: &str, key: u64) -> Result<Option<Vec<u8>>, StoreError> {
        self.snapshot()?.get(name, key)
    }

    /// Shows all entries of a table in order of their numbers.
    pub fn each(&self, name: &str, see: impl FnMut(u64, &[u8])) -> Result<(), StoreError> {
        self.snapshot()?.each(name, see)
    }

    /// Makes changes, all of them or none; when this returns they are on the disk.
    pub fn commit(&self, changes: &[Change<'_>]) -> Result<(), StoreError> {
        let Handle::Writer(database) = &self.handle else {
            return Err(StoreError::ReadOnly { path: self.name(), why: "it was opened to be read".into() });
        };
        let done = || -> Result<(), redb::Error> {
            let transaction = database.begin_write()?;
            for change in changes {
                match *change {
                    Change::Put(name, key, value) => drop(transaction.open_table(table(name))?.insert(key, value)?),
                    Change::Delete(name, key) => drop(transaction.open_table(table(name))?.remove(key)?),
                    Change::Clear(name) => drop(transaction.delete_table(table(name))?),
                }
            }
            Ok(transaction.commit()?)
        };
        done().map_err(|e| self.error(e))?;
        if let Some(made) = &self.made {
            let mut made = made.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            made.extend(changes.iter().map(Made::of));
        }
        Ok(())
    }

    /// Overwrites what was removed, which else lies in unused parts of the file until other data takes its place, and
    /// makes the file as small as it can be. Says false where that is not possible now: somebody reads what was
    /// removed. A drive may still keep a copy of its own.
    pub fn scrub(&mut self) -> Result<bool, StoreError> {
        let Handle::Writer(database) = &mut self.handle else {
            return Err(StoreError::ReadOnly { path: self.name(), why: "it was opened to be read".into() });
        };
        if !self.lasts || self.made.is_some() {
            return Ok(true);
        }
        let path = &self.path;
        let mut done = || -> Result<(), redb::Error> {
            // The smallest file there can be still has holes. Pages are taken from these before the file grows.
            database.compact()?;
            let length = fs::metadata(path)?.len();
            let transaction = database.begin_write()?;
            {
                let mut table = transaction.open_table(FILLER)?;
                let mut key = 0;
                while key < FILLERS && fs::metadata(path)?.len() <= length {
                    table.insert(key, &[0; FILLER_BYTES][..])?;
                    key += 1;
                }
            }
            transaction.commit()?;
            let transaction = database.begin_write()?;
            transaction.delete_table(FILLER)?;
            transaction.commit()?;
            database.compact()?;
            Ok(())
        };
        match done() {
            Ok(()) => Ok(true),
            Err(redb::Error::TransactionInProgress) => Ok(false),
            Err(e) => Err(self.error(e)),
        }
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }
    fn error(&self, e: redb::Error) -> StoreError {
        match e {
            redb::Error::Io(e) => io_error(&self.path, &e),
            redb::Error::Corrupted(why) => StoreError::Damaged { path: self.name(), why },
            e => StoreError::Damaged { path: self.name(), why: e.to_string() },
        }
    }
}

impl Made {
    fn of(change: &Change<'_>) -> Self {
        let (table, key, value) = match *change {
            Change::Put(table, key, value) => (table, Some(key), Some(value.to_vec())),
            Change::Delete(table, key) => (table, Some(key), None),
            Change::Clear(table) => (table, None, None),
        };
        Self { table: table.to_string(), key, value }
    }
}

impl Snapshot<'_> {
    /// An entry.
    pub fn get(&self, name: &str, key: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let mut found = None;
        self.read(name, |table| {
            found = table.get(key)?.map(|value| value.value().to_vec());
            Ok(())
        })?;
        Ok(found)
    }

    /// Shows all entries of a table in order of their numbers.
    pub fn each(&self, name: &str, mut see: impl FnMut(u64, &[u8])) -> Result<(), StoreError> {
        self.read(name, |table| {
            for entry in table.iter()? {
                let (key, value) = entry?;
                see(key.value(), value.value());
            }
            Ok(())
        })
    }

    fn read(
        &self,
        name: &str,
        see: impl FnOnce(&redb::ReadOnlyTable<u64, &'static [u8]>) -> Result<(), StorageError>,
    ) -> Result<(), StoreError> {
        match self.transaction.open_table(table(name)) {
            Ok(table) => see(&table).map_err(|e| self.store.error(e.into())),
            Err(TableError::TableDoesNotExist(_)) => Ok(()),
            Err(e) => Err(self.store.error(e.into())),
        }
    }
}

/// Every page's checksum is looked at when a file is opened for writing: a flipped byte is found before anything is
/// read. Readers trust the file: that check would write to it.
fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE);
    builder.set_check_integrity_on_open(true);
    if cfg!(any(target_os = "linux", target_vendor = "apple", windows)) {
        builder.set_concurrency_mode(ConcurrencyMode::SingleWriter);
    }
    builder
}

fn open_error(path: &Path, e: DatabaseError) -> StoreError {
    let name = path.display().to_string();
    match e {
        DatabaseError::DatabaseAlreadyOpen => {
            let by = fs::read_to_string(owner_file(path)).unwrap_or_else(|_| "another program".into());
            StoreError::Held { path: name, by }
        }
        DatabaseError::Storage(StorageError::Io(e)) if e.kind() == ErrorKind::InvalidData => {
            StoreError::Foreign { path: name, why: e.to_string() }
        }
        DatabaseError::Storage(StorageError::Io(e)) => io_error(path, &e),
        DatabaseError::Storage(StorageError::Corrupted(why)) => StoreError::Damaged { path: name, why },
        e @ (DatabaseError::UpgradeRequired(_) | DatabaseError::LockProtocolMismatch) => {
            StoreError::Foreign { path: name, why: e.to_string() }
        }
        e => StoreError::Damaged { path: name, why: e.to_string() },
    }
}

fn io_error(path: &Path, e: &io::Error) -> StoreError {
    let path = path.display().to_string();
    match e.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => StoreError::Full { path },
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            StoreError::ReadOnly { path, why: e.to_string() }
        }
        _ => StoreError::System { path, why: e.to_string() },
    }
}
