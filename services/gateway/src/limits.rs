//! How often somebody may ask: token buckets (GCRA) in this process's memory. The edge may add its own.

use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::config;

/// Keys that are remembered. Whoever comes when there are more shares one bucket with all others who do.
const REMEMBERED: usize = 100_000;
/// How often buckets that are full again are forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(30);
/// Of every limit, in seconds.
const WINDOW: u64 = 60;

/// Every limit there is.
pub struct Limits {
    /// Requests that nobody is signed in for, by address.
    pub anonymous: Limit<IpAddr>,
    /// Writes, by user.
    pub writes: Limit<Uuid>,
    /// Check-ins, by user: there is a queue at the door.
    pub check_ins: Limit<Uuid>,
    /// Sign-ins, sign-ups and the like, by address: each costs a password's hash.
    pub sign_ins: Limit<IpAddr>,
    account: Limit<[u8; 32]>,
}

/// One limit: so many a minute for each key.
pub struct Limit<K: Hash + Eq + Clone> {
    name: &'static str,
    quota: u32,
    /// `None`: there is no limit.
    buckets: Option<Buckets<K>>,
}

/// `None` is the key of all who find no room.
type Buckets<K> = RateLimiter<Option<K>, HashMapStateStore<Option<K>>, DefaultClock, StateInformationMiddleware>;

/// How somebody stands with one limit (draft-ietf-httpapi-ratelimit-headers).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitStatus {
    pub name: &'static str,
    pub quota: u32,
    pub remaining: u32,
    /// Seconds until the quota is whole again; of who is over it, until there is room for one.
    pub reset: u64,
}

/// Somebody asks too often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the limit {} is reached", .0.name)]
pub struct TooMany(pub LimitStatus);

impl Limits {
    pub fn new(config: config::Limits) -> Self {
        Self {
            anonymous: Limit::new("anonymous", config.anonymous),
            writes: Limit::new("writes", config.writes),
            check_ins: Limit::new("check-ins", config.check_ins),
            sign_ins: Limit::new("sign-ins", config.sign_ins),
            account: Limit::new("account", config.account),
        }
    }

    /// Attempts at one account, wherever they come from. `name`: what it is tried under, whether or not there is one.
    pub fn account(&self, name: &str) -> Result<(), TooMany> {
        // Remembered as a hash: names that people type are theirs.
        self.account.take(Sha256::digest(name.to_lowercase()).into()).map(drop)
    }

    /// Forgets who has not asked for a while, until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(FORGET_EVERY);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            self.anonymous.forget();
            self.writes.forget();
            self.check_ins.forget();
            self.sign_ins.forget();
            self.account.forget();
        }
    }
}

impl<K: Hash + Eq + Clone> Limit<K> {
    fn new(name: &'static str, per_minute: u32) -> Self {
        let buckets = NonZeroU32::new(per_minute).map(|quota| {
            RateLimiter::hashmap(Quota::per_minute(quota)).with_middleware::<StateInformationMiddleware>()
        });
        Self {
            name,
            quota: per_minute,
            buckets,
        }
    }

    /// Counts one request. `None`: there is no limit.
    pub fn take(&self, key: K) -> Result<Option<LimitStatus>, TooMany> {
        let Some(buckets) = &self.buckets else {
            return Ok(None);
        };
        let key = (buckets.len() < REMEMBERED).then_some(key);
        match buckets.check_key(&key) {
            Ok(state) => {
                let remaining = state.remaining_burst_capacity();
                let used = u64::from(self.quota.saturating_sub(remaining));
                let reset = (used * WINDOW).div_ceil(u64::from(self.quota));
                Ok(Some(self.standing(remaining, reset)))
            }
            Err(until) => {
                let wait = until.wait_time_from(DefaultClock::default().now());
                Err(TooMany(self.standing(0, wait.as_secs() + 1)))
            }
        }
    }

    fn standing(&self, remaining: u32, reset: u64) -> LimitStatus {
        LimitStatus {
            name: self.name,
            quota: self.quota,
            remaining,
            reset,
        }
    }

    fn forget(&self) {
        if let Some(buckets) = &self.buckets {
            buckets.retain_recent();
            buckets.shrink_to_fit();
        }
    }
}

impl LimitStatus {
    /// An item of `RateLimit-Policy`.
    pub fn policy(&self) -> String {
        format!("\"{}\";q={};w={WINDOW}", self.name, self.quota)
    }

    /// An item of `RateLimit`.
    pub fn state(&self) -> String {
        format!("\"{}\";r={};t={}", self.name, self.remaining, self.reset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_own_and_says_how_it_stands() {
        let limit = Limit::new("writes", 2);
        let first = limit.take(1).expect("there is room").expect("there is a limit");
        assert_eq!(first.policy(), "\"writes\";q=2;w=60");
        assert_eq!(first.state(), "\"writes\";r=1;t=30");
        assert!(limit.take(1).is_ok());
        let TooMany(over) = limit.take(1).expect_err("two a minute");
        assert_eq!(over.remaining, 0);
        assert!((29..=31).contains(&over.reset), "{over:?}");
        assert!(limit.take(2).is_ok());
    }

    #[test]
    fn zero_is_no_limit() {
        let limit = Limit::new("writes", 0);
        assert!((0..1_000).all(|_| limit.take(1) == Ok(None)));
    }

    #[test]
    fn an_account_is_one_whatever_its_case() {
        let config = config::Limits {
            account: 1,
            ..config::Limits::default()
        };
        let limits = Limits::new(config);
        assert!(limits.account("ada@example.org").is_ok());
        assert!(limits.account("ADA@example.org").is_err());
    }

    #[test]
    fn memory_is_bounded_and_strangers_share_what_is_left() {
        let limit = Limit::new("anonymous", 1_000);
        for key in 0..=REMEMBERED + 10 {
            limit.take(key).expect("there is room");
        }
        assert!(
            limit
                .buckets
                .as_ref()
                .is_some_and(|buckets| buckets.len() <= REMEMBERED + 1)
        );
    }
}
