//! Testnet4's known blocks. There is no start point above its first block: that needs the chain work, which was found in
//! no public list, and can't be computed from the difficulties, since slow blocks are easier here.
//!
//! Known blocks: the last block of every second difficulty period of Electrum's checkpoints, and the newest that they
//! have. No other list was found that has blocks at these heights.
//!
//! Known filter headers: those in the sources of neutrino; no other
//! list was found that has them.

use super::table::{FilterHeaderRow, KnownRow, block, filter_header};

/// Bitcoin Core's minimum chain work (`nMinimumChainWork`): that at height 123,613.
pub(super) const MINIMUM_CHAIN_WORK: u128 = 0x9a0_fe15_d017_7d08_6304;

/// Known blocks, lowest first.
pub(super) static KNOWN: &[KnownRow] = &[
    block(0, "00000000da84f2bafbbc53dee25a72ae507ff4914b867c565be350b0da8bf043"),
    block(4031, "000000002ad661157c553c0bbbb2490407adb1c8ac09f2b2a7174f87eeeb64bf"),
    block(8063, "00000000001ef2e4c2fc174354ed357cf313725fc336092733b2699d36342ff8"),
    block(12_095, "000000000014b2d6b2ad804d5deb8d5b4a58caf152f6cea5600af0d9348dff29"),
    block(16_127, "000000000002180d23f15ba0b8161d9d38d03c61ab51d050c57928e1a7d98e0c"),
    block(20_159, "0000000000003e82df3830ff7c05a58745a463a59d1097e160e47ac7aeb5323a"),
    block(24_191, "00000000000002901853780dc8a63efd4d72359d8de7e14dc0398ccfc53d45cd"),
    block(28_223, "000000000000006e2d4fa8204c67c0986f9bb0214990b11043d0653d50755f54"),
    block(32_255, "0000000000000063d3ca489d113ded6196c99f3785b61a8ded9254ebb96bc765"),
    block(36_287, "000000000000001f735b5a23732fb201cf6343b373c94a35f04e6b6075591889"),
    block(40_319, "00000000acd1400a4801f361d675644993ad05e5b735a881f26746ece767521e"),
    block(44_351, "00000000ca301f565989627133247615bc937b52c68f8f4b342b6c2aeebff7ba"),
    block(48_383, "00000000761cd6bff5e11258943e401e1bb094a8013e810e1d6031ce273a4b7c"),
    block(52_415, "0000000000853161fa2a440407ce597524e85db6a27f5dffd35162b38e7627e7"),
    block(56_447, "000000000ae11eebf9807d5ac0f9966282c59a1e613e229aa2bf7aea266d4535"),
    block(60_479, "0000000000000003d66460a7e1ed89080427ac2004b2b3adae05e6e89725dc1f"),
    block(64_511, "0000000000000003ac6ce3118b61709d347142cc04daeb2c973b937904e4390b"),
    block(68_543, "00000000000060397e5918c319db04ffac74f2a5c7724083112fca8958ea54de"),
    block(72_575, "0000000000000e5f474161d1b68932ab607035f5026f1ac4aa5816f24e76017a"),
    block(76_607, "0000000000052b94098008985919f6b525ead0d5cb5608fd60015f2647701ea1"),
    block(80_639, "000000006f596242c0b5dd79b5f638e95a215252c44374133a5b263fcb5e9f89"),
    block(84_671, "000000008a995172d20119cc9b48a28ea4bf350711c2925849e5db760d0bde05"),
    block(88_703, "00000000003f767fd29141200c4b64fc0b224edcf28ef65f66c6345b76a60f32"),
    block(92_735, "00000000068670ee282a076d17900a07da93da50b3705405b1e7ca8616856535"),
    block(96_767, "0000000000000002e72644dda2132c93ac54edd6c155f47c51ca8cf4b918c0bf"),
    block(100_799, "000000000a0b5c3e57dd4c3b751d13562a92953d794e19aff8f9e2ca6607604f"),
    block(104_831, "000000000668f8e866d39a9ec07937e716a6035a02cfd0757ee716ac7cdca2fd"),
    block(108_863, "0000000008c8148de5f2a96c0b82b32f8726ef7061386d370a68e078ade8e3e5"),
    block(112_895, "00000000039229460de251e6b8b303841f76a1bc022025e8ca66a6ace20ffdf3"),
    block(116_927, "0000000005dfc1e853b8d644598b77bdd97ef7578f9ccbb840aa3860fda9ddac"),
    block(120_959, "000000000d1359300f79d95e0db59f4c14099684718838720db7569d98348844"),
    block(124_991, "0000000000825b23159c1a12a2630b0449b8a8662205abc19a8d7fc63cc317ae"),
    block(129_023, "0000000002df096950967613e32bee0c6c8d39df45bfa59981b8d8c48a05f2df"),
    block(133_055, "00000000000000033293709ac6e6812f900d7bf4f3bcffbc138c813bff75d5f2"),
    block(137_087, "00000000002543b93ad11c81c924a5ebee7b236471fd166b060ce868abf95f1b"),
    block(139_103, "000000000001fa52cf7346a418640560743e051f8096a21ca452f3569bfe4f9e"),
];

/// Known filter headers, lowest first. Each row says which public lists have it.
pub(super) static FILTER_HEADERS: &[FilterHeaderRow] = &[
    // neutrino
    filter_header(10_000, "5bf92ba99cc9e4971e705ab3c4a2a78ef0ea40986ab20f2c06ebfe7751e3fbb8"),
    // neutrino
    filter_header(50_000, "66592214f388e315256e5c6362750b858d580dec269500ecca7a4fbb8042b8e3"),
];
