// SPDX-License-Identifier: GPL-2.0-or-later

//! The check value of a key, computed without the module.

use aes::cipher::{BlockEncrypt, KeyInit};
use aes::Aes256;
use sha2::{Digest, Sha256};
use tresor_uapi::{CHECK_LEN, KEY_LEN};

/// F('k', 0, 0, 0, "") of `docs/architecture.md`: AES-256 under the key, of the first 16 bytes of
/// the SHA-256 of the header.
///
/// The key is expanded on the caller's stack, so this belongs on a stack that is wiped.
pub fn check_value(key: &[u8; KEY_LEN]) -> [u8; CHECK_LEN] {
    // "tresor v1", a zero byte, the purpose; mode, bits and index are zero.
    let digest = Sha256::digest(b"tresor v1\0k\0\0\0\0\0");
    let mut block = aes::Block::clone_from_slice(&digest[..CHECK_LEN]);
    Aes256::new(key.into()).encrypt_block(&mut block);
    block.into()
}

/// What `--expect` names: a whole check value, or a key id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected(Vec<u8>);

impl Expected {
    /// Whether `check` is, or begins with, what is expected.
    pub fn admits(&self, check: &[u8; CHECK_LEN]) -> bool {
        check.starts_with(&self.0)
    }
}

impl std::str::FromStr for Expected {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match hex::decode(text) {
            Ok(bytes) if bytes.len() == CHECK_LEN || bytes.len() == tresor_uapi::KEY_ID_LEN => {
                Ok(Self(bytes))
            }
            _ => Err("a key id is 16 hex digits, a check value 32"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_is_the_one_that_sha256sum_and_openssl_give() {
        assert_eq!(
            hex::encode(check_value(&[7; 32])),
            "a354e2c24b2bcf0fa9c6b2647ef35d65"
        );
    }

    #[test]
    fn a_check_value_is_named_whole_or_by_its_key_id() {
        let check = check_value(&[7; 32]);
        let other = check_value(&[8; 32]);
        for text in [hex::encode(check), hex::encode(&check[..8]).to_uppercase()] {
            let expected: Expected = text.parse().unwrap();
            assert!(expected.admits(&check) && !expected.admits(&other));
        }
        assert!("00112233".parse::<Expected>().is_err());
        assert!("xx".repeat(16).parse::<Expected>().is_err());
    }
}
