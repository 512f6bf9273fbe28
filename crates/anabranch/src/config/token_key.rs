use anabranch_gateway::TokenKey;
use anyhow::Context;

/// Parses `token-key`: 64 hexadecimal digits.
pub(super) fn parse(hex: &str) -> anyhow::Result<TokenKey> {
    let digit = |pair: &[u8]| {
        let text = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(text, 16).ok()
    };
    let bytes: Option<Vec<u8>> = hex.as_bytes().chunks(2).map(digit).collect();
    let bytes: Option<[u8; 32]> = bytes.and_then(|bytes| bytes.try_into().ok());
    Ok(TokenKey::new(bytes.context("token-key: must be 64 hex digits")?))
}

/// A new random token key in the form of a configuration file.
pub(crate) fn new_token_key() -> String {
    rand::random::<[u8; 32]>().iter().map(|byte| format!("{byte:02x}")).collect()
}
