//! Injected panics.

use std::any::Any;
use std::sync::Once;

/// What starts with this is meant to happen.
pub const INJECTED: &str = "injected";

/// Keeps injected panics out of the output: there are hundreds, each with a backtrace.
pub fn be_quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let text = info.payload().downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| info.payload().downcast_ref::<&str>().copied());
            if text.is_some_and(|text| !text.starts_with(INJECTED)) {
                usual(info);
            }
        }));
    });
}

/// A payload that panics itself when it is dropped.
pub struct Grenade;

impl Drop for Grenade {
    fn drop(&mut self) {
        // Without a size, so that whoever cannot but leak it leaks nothing.
        std::panic::panic_any(());
    }
}

/// A panic of each kind.
pub fn explode(kind: usize) -> ! {
    let payload: Box<dyn Any + Send> = match kind {
        0 => Box::new("injected text"),
        1 => Box::new(String::from("injected string")),
        2 => Box::new(77_u64),
        _ => Box::new(Grenade),
    };
    // Not `panic_any`, which would put the box into another box. It does not run the hook either.
    std::panic::resume_unwind(payload)
}
