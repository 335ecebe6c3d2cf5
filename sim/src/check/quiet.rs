//! Panics that are results: what they say is kept, and not printed.

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local! {
    /// `None`: this thread's panics are printed as others are.
    static SAID: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Does something. If it panics: what was said, and where.
pub(super) fn caught<T>(act: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let is_kept = SAID.with_borrow_mut(|said| match said {
                Some(said) => {
                    *said = info.to_string();
                    true
                }
                None => false,
            });
            if !is_kept {
                before(info);
            }
        }));
    });
    let outer = SAID.replace(Some(String::new()));
    // What it leaves behind is its own, and nobody looks at it after a panic.
    let result = catch_unwind(AssertUnwindSafe(act));
    let said = SAID.replace(outer).unwrap_or_default();
    result.map_err(|_| said)
}
