//! Bitcoin Core's engine, by the `bitcoinkernel` crate: the side that is right.
//!
//! The crate's interface tells the class of a refusal only, and has no way to set the clock. The reason is therefore
//! read from the engine's log, and checked against the class; the clock is set by the function that Core's own tests
//! use, which is in the library although its header does not show it.

use std::cell::RefCell;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use bitcoin::BlockHash;
use bitcoin::block::Header;
use bitcoin::consensus::serialize;
use bitcoin::hashes::Hash;
use bitcoinkernel::prelude::{BlockHashExt, BlockValidationStateExt};
use bitcoinkernel::{
    BlockHeader, BlockValidationResult, ChainType, ChainstateManager, Context, Log, LogCategory, LogLevel,
    Logger, ProcessBlockHeaderResult, ValidationMode,
};
use tempfile::TempDir;

use crate::tree::{Answer, Block, HeaderTree, Refusal};

/// The reasons as the engine's log has them, each with its class.
const REASONS: [(&str, Refusal, BlockValidationResult); 6] = [
    ("high-hash", Refusal::ProofOfWork, BlockValidationResult::InvalidHeader),
    ("prev block not found", Refusal::Unconnected, BlockValidationResult::MissingPrev),
    ("bad-diffbits", Refusal::Difficulty, BlockValidationResult::InvalidHeader),
    ("time-too-old", Refusal::TooOld, BlockValidationResult::InvalidHeader),
    ("time-too-new", Refusal::TooNew, BlockValidationResult::TimeFuture),
    ("bad-version(", Refusal::Version, BlockValidationResult::InvalidHeader),
];

/// The engine's clock is one for the process: one comparison at a time.
static ENGINE: Mutex<()> = Mutex::new(());

static LOGGING: Once = Once::new();

thread_local! {
    /// What the engine logged of the header that it judges. It logs on the caller's thread.
    static LOGGED: RefCell<String> = const { RefCell::new(String::new()) };
}

#[allow(unsafe_code, reason = "the C interface has no function that sets the clock")]
mod clock {
    unsafe extern "C" {
        /// `void SetMockTime(int64_t)`: from now on it is that many seconds after 1970; zero is the real clock.
        /// Its name as compilers for 64-bit Linux have it.
        #[link_name = "_Z11SetMockTimel"]
        pub(super) safe fn set_mock_time(seconds: i64);
    }
}

struct KeepLast;

impl Log for KeepLast {
    fn log(&self, message: &str) {
        LOGGED.with_borrow_mut(|logged| {
            logged.clear();
            logged.push_str(message);
        });
    }
}

/// The engine, held by one comparison.
pub(crate) struct Engine {
    context: Context,
    _held: MutexGuard<'static, ()>,
}

impl Engine {
    /// Waits until no other comparison has it.
    pub(crate) fn hold(network: ChainType) -> Self {
        let held = ENGINE.lock().unwrap_or_else(PoisonError::into_inner);
        LOGGING.call_once(|| {
            let logger = Logger::new(KeepLast).expect("the engine takes a logger");
            logger.set_level_category(LogCategory::Validation, LogLevel::Debug);
            logger.enable_category(LogCategory::Validation);
            // For as long as the process lives.
            std::mem::forget(logger);
        });
        let context = Context::builder().chain_type(network).build().expect("the engine starts");
        Self { context, _held: held }
    }

    /// A tree with nothing but the network's first block.
    pub(crate) fn tree(&self) -> Reference<'_> {
        clock::set_mock_time(0);
        let directory = tempfile::tempdir().expect("a directory for the engine");
        let path = directory.path().to_str().expect("the path is text");
        let manager = ChainstateManager::builder(&self.context, path, &format!("{path}/blocks"))
            .and_then(|builder| {
                builder.block_tree_db_in_memory(true).chainstate_db_in_memory(true).worker_threads(0).build()
            })
            .expect("the engine starts");
        Reference { manager, _directory: directory, _engine: self }
    }
}

/// Headers in the engine.
pub(crate) struct Reference<'a> {
    manager: ChainstateManager,
    _directory: TempDir,
    _engine: &'a Engine,
}

impl Reference<'_> {
    fn judge(&self, header: &Header) -> Result<(), Refusal> {
        LOGGED.with_borrow_mut(String::clear);
        let header = BlockHeader::new(&serialize(header)).expect("a header is 80 bytes");
        let state = match self.manager.process_block_header(&header).expect("the engine judges a header") {
            ProcessBlockHeaderResult::Valid => return Ok(()),
            ProcessBlockHeaderResult::Invalid(state) => state,
        };
        assert_eq!(state.mode(), ValidationMode::Invalid);
        LOGGED.with_borrow(|logged| {
            let (_, refusal, class) =
                REASONS.iter().find(|(reason, ..)| logged.contains(reason)).unwrap_or_else(|| {
                    panic!("refused as {:?} for a reason that is not known: {logged}", state.result())
                });
            assert_eq!(state.result(), *class, "the log belongs to another refusal: {logged}");
            Err(*refusal)
        })
    }
}

impl HeaderTree for Reference<'_> {
    fn take(&mut self, headers: &[Header], now: u64) -> Answer {
        assert_ne!(now, 0, "to the engine that is the real clock");
        clock::set_mock_time(now.try_into().expect("a clock before the end of time"));
        for (taken, header) in headers.iter().enumerate() {
            if let Err(refusal) = self.judge(header) {
                return Answer { taken, refused: Some(refusal) };
            }
        }
        Answer { taken: headers.len(), refused: None }
    }

    fn tip(&self) -> Block {
        let best = self.manager.best_entry().expect("the engine has a best header");
        Block {
            height: height(best.height()),
            hash: BlockHash::from_byte_array(best.block_hash().to_bytes()),
        }
    }

    fn find(&self, hash: &BlockHash) -> Option<u32> {
        let entry = self.manager.get_block_tree_entry(&hash.to_byte_array().into())?;
        Some(height(entry.height()))
    }
}

fn height(height: i32) -> u32 {
    height.try_into().expect("a height is not negative")
}
