//! The mask of a request: a number and, from 4.6 on, names.

use crate::value::Gfp;

impl Gfp {
    /// Reads `0x24280ca(GFP_HIGHUSER_MOVABLE|__GFP_ZERO), ...` or `0x280da`; what follows is left
    /// alone. `None` without a number.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim_start();
        let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
        let end = hex.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(hex.len());
        let bits = u64::from_str_radix(&hex[..end], 16).ok()?;
        let names = match hex[end..].strip_prefix('(') {
            Some(rest) => {
                let inside = rest.split(')').next().unwrap_or_default();
                let names = inside.split('|').map(|n| n.trim().to_owned());
                names.filter(|n| !n.is_empty()).collect()
            }
            None => Vec::new(),
        };
        Some(Self { bits, names })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_and_names() {
        let gfp = Gfp::parse("0x24280ca(GFP_HIGHUSER_MOVABLE|__GFP_ZERO), nodemask=1").unwrap();
        assert_eq!((gfp.bits, gfp.names.len()), (0x0242_80ca, 2));
        assert_eq!(Gfp::parse("0x280da, order=0").unwrap().names, Vec::<String>::new());
        assert_eq!(Gfp::parse("none"), None);
    }
}
