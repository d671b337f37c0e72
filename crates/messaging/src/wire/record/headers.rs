//! The headers of a fetched record, read without a panic.
//!
//! rdkafka's own reader panics if a header's name is not UTF-8, and any producer may write such a name. This module
//! therefore reads the headers from librdkafka, and is the only one with unsafe code.
#![expect(unsafe_code, reason = "librdkafka's headers are read by pointer")]

use std::ffi::{CStr, c_void};
use std::os::raw::c_char;
use std::ptr;

use rdkafka::bindings::{rd_kafka_header_get_all, rd_kafka_headers_t, rd_kafka_message_headers};
use rdkafka::message::BorrowedMessage;
use rdkafka::types::RDKafkaRespErr;

use super::Headers;

impl Headers {
    /// Copies the headers of a record. In names and values, bytes that are not UTF-8 are replaced by U+FFFD.
    pub(super) fn read(message: &BorrowedMessage<'_>) -> Self {
        let mut headers: *mut rd_kafka_headers_t = ptr::null_mut();
        // SAFETY: `message` owns the native message for as long as it is borrowed. librdkafka sets `headers` to headers
        // that the message owns, or returns an error and leaves it alone.
        let found = unsafe { rd_kafka_message_headers(message.ptr(), &mut headers) };
        if found != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR || headers.is_null() {
            return Self::default();
        }
        let header = |index| {
            let mut name: *const c_char = ptr::null();
            let mut value: *const c_void = ptr::null();
            let mut size = 0;
            // SAFETY: `headers` is valid as above. If there is a header at `index`, librdkafka sets `name` to a
            // NUL-terminated string and `value` to `size` bytes or to null; both live as long as the message.
            unsafe {
                let found = rd_kafka_header_get_all(headers, index, &mut name, &mut value, &mut size);
                if found != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                    return None;
                }
                let value = if value.is_null() || size == 0 {
                    &[]
                } else {
                    std::slice::from_raw_parts(value.cast::<u8>(), size)
                };
                Some((
                    CStr::from_ptr(name).to_string_lossy().into_owned(),
                    String::from_utf8_lossy(value).into_owned(),
                ))
            }
        };
        Self((0..).map_while(header).collect())
    }
}
