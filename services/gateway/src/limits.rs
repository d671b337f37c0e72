//! Rate limits: token buckets (GCRA) in the memory of this process. A proxy at the edge may enforce further limits.

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

/// Maximum number of keys that have their own bucket. All further keys share one bucket.
const MAX_KEYS: usize = 100_000;
/// Interval at which full buckets are removed.
const CLEAN_UP_INTERVAL: Duration = Duration::from_secs(30);
/// Length of the window of every limit, in seconds.
const WINDOW: u64 = 60;

/// All rate limits.
pub struct Limits {
    /// Anonymous requests, by address.
    pub anonymous: Limit<IpAddr>,
    /// Writes, by user.
    pub writes: Limit<Uuid>,
    /// Check-ins, by user. Their limit is separate, because one user may check many people in within a short time.
    pub check_ins: Limit<Uuid>,
    /// Sign-ins, sign-ups and similar requests, by address. They are limited because each hashes a password.
    pub sign_ins: Limit<IpAddr>,
    account: Limit<[u8; 32]>,
}

/// A limit: a number of requests per minute for each key.
pub struct Limit<K: Hash + Eq + Clone> {
    name: &'static str,
    quota: u32,
    /// `None` if the number of requests is not limited.
    buckets: Option<Buckets<K>>,
}

/// The key `None` stands for all keys without a separate bucket.
type Buckets<K> = RateLimiter<Option<K>, HashMapStateStore<Option<K>>, DefaultClock, StateInformationMiddleware>;

/// The state of one limit for one key (draft-ietf-httpapi-ratelimit-headers).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitStatus {
    pub name: &'static str,
    pub quota: u32,
    pub remaining: u32,
    /// Seconds until the full quota is available again or, if the limit is exceeded, until one request is allowed.
    pub reset: u64,
}

/// The limit was exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the rate limit {} is exceeded", .0.name)]
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

    /// Counts one attempt at an account, from any address. `name` identifies the account, whether or not it exists.
    ///
    /// # Errors
    /// Returns [`TooMany`] if the limit is exceeded.
    pub fn account(&self, name: &str) -> Result<(), TooMany> {
        // Only a hash is kept, because the name is personal data.
        self.account.take(Sha256::digest(name.to_lowercase()).into()).map(drop)
    }

    /// Removes full buckets at an interval, until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(CLEAN_UP_INTERVAL);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            self.anonymous.remove_full_buckets();
            self.writes.remove_full_buckets();
            self.check_ins.remove_full_buckets();
            self.sign_ins.remove_full_buckets();
            self.account.remove_full_buckets();
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

    /// Counts one request. Returns the state of the limit, or `None` if the number of requests is not limited.
    ///
    /// # Errors
    /// Returns [`TooMany`] if the limit is exceeded.
    pub fn take(&self, key: K) -> Result<Option<LimitStatus>, TooMany> {
        let Some(buckets) = &self.buckets else {
            return Ok(None);
        };
        let key = (buckets.len() < MAX_KEYS).then_some(key);
        match buckets.check_key(&key) {
            Ok(state) => {
                let remaining = state.remaining_burst_capacity();
                let used = u64::from(self.quota.saturating_sub(remaining));
                let reset = (used * WINDOW).div_ceil(u64::from(self.quota));
                Ok(Some(self.status(remaining, reset)))
            }
            Err(until) => {
                let wait = until.wait_time_from(DefaultClock::default().now());
                Err(TooMany(self.status(0, wait.as_secs() + 1)))
            }
        }
    }

    fn status(&self, remaining: u32, reset: u64) -> LimitStatus {
        LimitStatus {
            name: self.name,
            quota: self.quota,
            remaining,
            reset,
        }
    }

    fn remove_full_buckets(&self) {
        if let Some(buckets) = &self.buckets {
            buckets.retain_recent();
            buckets.shrink_to_fit();
        }
    }
}

impl LimitStatus {
    /// Returns the item of the header `RateLimit-Policy`.
    pub fn policy(&self) -> String {
        format!("\"{}\";q={};w={WINDOW}", self.name, self.quota)
    }

    /// Returns the item of the header `RateLimit`.
    pub fn state(&self) -> String {
        format!("\"{}\";r={};t={}", self.name, self.remaining, self.reset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_own_quota_and_reports_its_state() {
        let limit = Limit::new("writes", 2);
        let first = limit
            .take(1)
            .expect("the limit is not reached")
            .expect("the number is limited");
        assert_eq!(first.policy(), "\"writes\";q=2;w=60");
        assert_eq!(first.state(), "\"writes\";r=1;t=30");
        assert!(limit.take(1).is_ok());
        let TooMany(over) = limit.take(1).expect_err("the limit is two per minute");
        assert_eq!(over.remaining, 0);
        assert!((29..=31).contains(&over.reset), "{over:?}");
        assert!(limit.take(2).is_ok());
    }

    #[test]
    fn a_limit_of_zero_allows_any_number_of_requests() {
        let limit = Limit::new("writes", 0);
        assert!((0..1_000).all(|_| limit.take(1) == Ok(None)));
    }

    #[test]
    fn an_account_name_is_limited_without_regard_to_case() {
        let config = config::Limits {
            account: 1,
            ..config::Limits::default()
        };
        let limits = Limits::new(config);
        assert!(limits.account("ada@example.org").is_ok());
        assert!(limits.account("ADA@example.org").is_err());
    }

    #[test]
    fn further_keys_share_one_bucket_when_the_maximum_is_reached() {
        let limit = Limit::new("anonymous", 1_000);
        for key in 0..=MAX_KEYS + 10 {
            limit.take(key).expect("the limit is not reached");
        }
        assert!(
            limit
                .buckets
                .as_ref()
                .is_some_and(|buckets| buckets.len() <= MAX_KEYS + 1)
        );
    }
}
