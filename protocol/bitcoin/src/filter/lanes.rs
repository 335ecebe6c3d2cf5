//! What SipHash computes with: words of 64 bits, one at a time or two in a register of 128.
//!
//! A processor adds words and pairs of words in different units, so some messages of a group are hashed as the one and
//! some as the other, side by side.

/// Words on which the same is done.
pub(super) trait Lane: Copy {
    fn plus(self, other: Self) -> Self;
    fn xor(self, other: Self) -> Self;
    fn rotate_13(self) -> Self;
    fn rotate_16(self) -> Self;
    fn rotate_17(self) -> Self;
    fn rotate_21(self) -> Self;
    fn rotate_32(self) -> Self;
    /// This word, in each place.
    fn of(word: u64) -> Self;
}

impl Lane for u64 {
    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self.wrapping_add(other)
    }
    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        self ^ other
    }
    #[inline(always)]
    fn rotate_13(self) -> Self {
        self.rotate_left(13)
    }
    #[inline(always)]
    fn rotate_16(self) -> Self {
        self.rotate_left(16)
    }
    #[inline(always)]
    fn rotate_17(self) -> Self {
        self.rotate_left(17)
    }
    #[inline(always)]
    fn rotate_21(self) -> Self {
        self.rotate_left(21)
    }
    #[inline(always)]
    fn rotate_32(self) -> Self {
        self.rotate_left(32)
    }
    #[inline(always)]
    fn of(word: u64) -> Self {
        word
    }
}

#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
pub(super) use pair::Pair;

#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
mod pair {
    use safe_arch::{
        add_i64_m128i, bitor_m128i, bitxor_m128i, get_i64_from_m128i_s, m128i, set_i64_m128i,
        set_splat_i64_m128i, shl_imm_u64_m128i, shr_imm_u64_m128i, shuffle_ai_f32_all_m128i,
        shuffle_ai_i16_h64all_m128i, shuffle_ai_i16_l64all_m128i, unpack_high_i64_m128i,
    };

    use super::Lane;

    /// Two words.
    #[derive(Clone, Copy)]
    pub(in crate::filter) struct Pair(m128i);

    impl Pair {
        #[inline(always)]
        pub(in crate::filter) fn new(low: u64, high: u64) -> Self {
            Self(set_i64_m128i(high.cast_signed(), low.cast_signed()))
        }

        #[inline(always)]
        pub(in crate::filter) fn words(self) -> [u64; 2] {
            let high = unpack_high_i64_m128i(self.0, self.0);
            [self.0, high].map(|word| get_i64_from_m128i_s(word).cast_unsigned())
        }
    }

    impl Lane for Pair {
        #[inline(always)]
        fn plus(self, other: Self) -> Self {
            Self(add_i64_m128i(self.0, other.0))
        }
        #[inline(always)]
        fn xor(self, other: Self) -> Self {
            Self(bitxor_m128i(self.0, other.0))
        }
        #[inline(always)]
        fn rotate_13(self) -> Self {
            Self(bitor_m128i(shl_imm_u64_m128i::<13>(self.0), shr_imm_u64_m128i::<51>(self.0)))
        }
        #[inline(always)]
        fn rotate_16(self) -> Self {
            // Each quarter of a word goes one place up.
            const UP: i32 = 0b10_01_00_11;
            Self(shuffle_ai_i16_h64all_m128i::<UP>(shuffle_ai_i16_l64all_m128i::<UP>(self.0)))
        }
        #[inline(always)]
        fn rotate_17(self) -> Self {
            Self(bitor_m128i(shl_imm_u64_m128i::<17>(self.0), shr_imm_u64_m128i::<47>(self.0)))
        }
        #[inline(always)]
        fn rotate_21(self) -> Self {
            Self(bitor_m128i(shl_imm_u64_m128i::<21>(self.0), shr_imm_u64_m128i::<43>(self.0)))
        }
        #[inline(always)]
        fn rotate_32(self) -> Self {
            // The halves of each word change places.
            Self(shuffle_ai_f32_all_m128i::<0b10_11_00_01>(self.0))
        }
        #[inline(always)]
        fn of(word: u64) -> Self {
            Self(set_splat_i64_m128i(word.cast_signed()))
        }
    }
}
