//! Limits the number of open connections, overall and per client address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Minimum time between two log lines about refusals, because there may be thousands.
pub(super) const LOG_EVERY: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Admission {
    maximum: usize,
    maximum_per_address: usize,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
    refused: u64,
    last_refusal: Option<Refusal>,
    logged: Option<Instant>,
}

/// Reason why a connection is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the last one because {0} connections are open, the overall maximum")]
    Overall(usize),
    #[error("the last one because its client address has {0} open connections, the maximum per address")]
    OfAddress(usize),
}

/// Permit for one open connection. Dropping it frees the connection's place.
#[derive(Debug)]
pub(super) struct Permit {
    admission: Arc<Admission>,
    address: Option<IpAddr>,
}

impl Admission {
    pub(super) fn new(maximum: usize, maximum_per_address: usize) -> Self {
        Self {
            maximum,
            maximum_per_address,
            counts: Mutex::default(),
        }
    }

    /// Counts a connection. Without an `address` it counts towards the overall maximum only.
    ///
    /// # Errors
    /// Returns [`Refusal`] if a maximum is reached.
    pub(super) fn enter(admission: &Arc<Self>, address: Option<IpAddr>) -> Result<Permit, Refusal> {
        let mut counts = admission.counts();
        let refused = if counts.all >= admission.maximum {
            Some(Refusal::Overall(admission.maximum))
        } else {
            let of_address = address.and_then(|address| counts.by_address.get(&address)).copied();
            (of_address.unwrap_or(0) >= admission.maximum_per_address && address.is_some())
                .then_some(Refusal::OfAddress(admission.maximum_per_address))
        };
        if let Some(refused) = refused {
            counts.refused += 1;
            counts.last_refusal = Some(refused);
            return Err(refused);
        }
        counts.all += 1;
        if let Some(address) = address {
            *counts.by_address.entry(address).or_default() += 1;
        }
        Ok(Permit {
            admission: Arc::clone(admission),
            address,
        })
    }

    /// Returns the number of refusals since the last call that returned one, with the reason of the last. Returns `None` if
    /// there was none, or if the last call was less than [`LOG_EVERY`] ago.
    pub(super) fn to_log(&self) -> Option<(u64, Refusal)> {
        let mut counts = self.counts();
        if counts.logged.is_some_and(|logged| logged.elapsed() < LOG_EVERY) {
            return None;
        }
        let refused = counts.last_refusal.take()?;
        counts.logged = Some(Instant::now());
        Some((std::mem::take(&mut counts.refused), refused))
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // No code between two changes of the counts can panic, so the counts are consistent.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut counts = self.admission.counts();
        counts.all -= 1;
        let Some(address) = self.address else { return };
        if let Some(count) = counts.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                counts.by_address.remove(&address);
            }
        }
    }
}
