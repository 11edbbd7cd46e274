//! What can go wrong with a memory.

/// Errors of a memory and of its files; those of the store beneath are `StoreError`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// The memory holds sections of another model.
    #[error(
        "{memory} belongs to model {theirs}, this is {}: export it with that model and import the file with this one, \
or name another memory",
        named(.ours)
    )]
    OtherModel {
        /// The memory.
        memory: String,
        /// The id of its model.
        theirs: String,
        /// The id of this model; empty if it was never written.
        ours: String,
    },
    /// A model without an id and a memory that is to last.
    #[error("a model that was never written has no id, and so no memory that lasts: write it to a file and open that")]
    Unwritten,
    /// A memory, or a file of one, of another format version.
    #[error("{memory} has format version {got}, this program reads {reads}")]
    Version {
        /// The memory.
        memory: String,
        /// In the memory.
        got: String,
        /// Understood here.
        reads: u32,
    },
    /// There was never such a lesson.
    #[error("there is no lesson {id}")]
    NoLesson {
        /// Its number.
        id: u64,
    },
    /// The lesson was there once.
    #[error("lesson {id} is gone: it was undone or cleared")]
    Gone {
        /// Its number.
        id: u64,
    },
    /// A lesson that is to be replaced already is.
    #[error("lesson {id} was already replaced by lesson {by}: replace that one")]
    Replaced {
        /// Its number.
        id: u64,
        /// The one that replaced it.
        by: u64,
    },
    /// What a lesson wrote is not what this model's pool holds.
    #[error("the lesson does not fit the model: {0}")]
    Misfit(String),
    /// What is stored is not what was committed.
    #[error("{memory} is damaged: {what}")]
    Damaged {
        /// The memory.
        memory: String,
        /// Where and how.
        what: String,
    },
    /// The bytes are no exported memory, or a damaged one.
    #[error("this is no whole exported memory: {0}")]
    File(String),
    /// An exported memory of another model that holds nothing which could be taught again.
    #[error(
        "its lessons were learned by model {theirs}, this is {}: they must be taught again, and the file does not say \
what was said",
        named(.ours)
    )]
    NothingToTeach {
        /// The id of its model.
        theirs: String,
        /// The id of this model; empty if it was never written.
        ours: String,
    },
}

fn named(id: &str) -> String {
    match id {
        "" => "a model that was never written".into(),
        id => format!("model {id}"),
    }
}
