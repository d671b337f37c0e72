use std::num::NonZeroUsize;

use chassis::settings::Reader;

use super::argon::Memory;
use crate::memory;

/// The settings of password hashing.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Maximum number of passwords that are hashed at the same time.
    pub hashers: usize,
    /// Maximum number of passwords that wait for a hasher. Further passwords are refused.
    pub queue: usize,
}

impl Settings {
    pub fn from_settings(read: &mut Reader) -> Self {
        Self {
            hashers: read
                .optional::<NonZeroUsize>(
                    "PASSWORD_HASHERS",
                    "1",
                    "maximum number of passwords hashed at the same time; default: half of the cores, in at most a quarter of the memory",
                )
                .map_or_else(hashers, NonZeroUsize::get),
            queue: read.or(
                "PASSWORD_QUEUE",
                "16",
                "maximum number of passwords that wait for a hasher; the response to further requests is 503",
            ),
        }
    }
}

/// Returns the default number of hashers on this machine.
fn hashers() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    hashers_for(cores, memory::limit())
}

/// Returns half of the cores so that the other routes have the rest, but not more hashers than a quarter of the memory
/// holds, because each hasher keeps its own working memory. `memory` is in bytes.
fn hashers_for(cores: usize, memory: Option<u64>) -> usize {
    let by_memory = memory.map_or(u64::MAX, |bytes| bytes / 4 / Memory::BYTES);
    let by_memory = usize::try_from(by_memory).unwrap_or(usize::MAX);
    (cores / 2).min(by_memory).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashers_use_half_of_the_cores_and_at_most_a_quarter_of_the_memory() {
        const MIB: u64 = 1024 * 1024;
        assert_eq!(hashers_for(8, None), 4);
        assert_eq!(hashers_for(8, Some(1024 * MIB)), 4);
        assert_eq!(hashers_for(64, Some(256 * MIB)), 3);
        assert_eq!(hashers_for(2, Some(256 * MIB)), 1);
        assert_eq!(hashers_for(8, Some(16 * MIB)), 1);
        assert_eq!(hashers_for(1, None), 1);
    }
}
