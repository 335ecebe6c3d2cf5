//! Nodes that are compiled in, for a client that finds no others: the last resort.
//!
//! They are of the lists that Bitcoin Core ships in 2026, which its crawler makes of what answered for weeks; of mainnet's
//! first those that were in the list of February 2025 as well, and one for each autonomous system in IPv4 and IPv6. What they serve
//! is not known beyond that they are whole nodes: they are asked for addresses.

/// Addresses with spaces between them, all on the network's own port (I2P has none). Tor and I2P without what follows the
/// name.
pub(super) struct Table {
    pub(super) ipv4: &'static str,
    pub(super) ipv6: &'static str,
    pub(super) tor_v3: &'static str,
    pub(super) i2p: &'static str,
    pub(super) cjdns: &'static str,
}

pub(super) static MAINNET: Table = Table {
    ipv4: "\
        3.86.179.235 5.2.23.226 5.95.152.132 5.128.87.126 5.199.144.20 24.60.237.56 24.243.114.119 \
        31.220.96.68 34.81.187.66 37.15.61.236 37.57.13.143 37.72.175.226 37.157.192.94 38.102.85.36 \
        38.162.172.203 38.180.242.6 45.55.212.100 45.88.106.107 45.135.180.59 46.148.235.36 46.255.123.38 \
        47.221.66.236 50.5.142.64 50.30.36.140 52.182.185.242 62.209.210.3 62.238.237.242 66.35.84.14 \
        66.84.82.241 66.85.228.125 67.85.175.241 68.75.195.2 68.103.63.198 68.148.76.43 69.196.152.33 \
        71.95.147.98 72.95.92.150 72.255.188.46 73.42.33.255 73.208.251.19 74.50.72.174 74.133.65.93 \
        74.220.255.190 77.74.80.179 77.174.133.117 78.87.87.207 79.117.128.153 80.108.31.228 81.6.11.67 \
        81.83.45.130 82.69.62.20 82.96.96.40 82.181.245.129 84.46.117.176 85.5.255.187 85.163.23.103 \
        85.208.69.21 85.246.5.111 85.251.67.179 86.101.92.93 87.236.195.198 89.58.60.208 89.233.246.104 \
        90.103.132.119 91.190.198.136 91.206.17.195 93.57.81.162 93.231.226.32 94.100.70.89 95.79.32.63 \
        96.43.142.163 97.206.193.242 98.13.77.64 98.33.114.133 98.128.230.186 102.132.172.34 103.108.231.153 \
        104.128.64.58 107.13.97.236 107.150.46.114 109.164.111.129 109.173.57.116 113.119.24.160 \
        116.121.193.36 118.24.37.253 120.88.48.94 128.2.12.38 129.13.189.215 136.58.52.105 137.226.34.45 \
        139.138.123.236 140.238.156.54 141.105.125.196 147.236.213.18 148.163.68.23 149.28.116.34 \
        149.115.192.160 152.230.180.115 157.173.24.222 157.250.201.247 158.160.127.230 159.196.224.236 \
        159.246.25.53 162.19.102.6 162.81.160.34 162.120.19.21 162.120.69.182 162.218.223.25 163.123.157.11 \
        164.215.67.56 169.155.170.211 170.133.3.34 172.96.141.17 172.233.211.171 173.243.43.229 \
        174.63.171.76 174.177.47.73 176.74.136.237 178.124.214.57 183.88.223.208 184.95.32.130 \
        185.68.251.116 185.88.248.162 185.146.157.3 185.157.162.236 185.203.41.148 185.209.12.76 \
        185.210.125.33 185.215.167.23 188.127.226.159 188.213.94.74 188.214.129.52 190.203.111.221 \
        191.93.156.166 192.3.11.26 192.226.179.38 192.243.215.102 194.147.140.37 195.3.222.66 198.154.93.110 \
        199.168.201.26 203.161.35.68 204.111.88.33 204.228.151.196 205.233.47.221 206.125.169.164 \
        206.223.211.76 207.66.71.46 207.182.146.130 209.122.243.163 212.87.158.134 212.112.65.254 \
        212.158.133.185 213.110.208.173 213.112.57.7 216.188.233.105 216.226.128.189 217.24.162.174 \
        217.180.221.162 221.168.36.253",
    ipv6: "\
        2001:470:88ff:2e::1 2001:569:5079:abd2::c9 2001:5a8:60c0:d500::7840 2001:678:68c:fffb::195 \
        2001:67c:1220:808::93e5:81f 2001:67c:1254:d2:6b9c::1 2001:67c:26b4:ff00::44 \
        2001:818:df59:5800:f8a4:ceff:fefd:d63a 2001:8b0:1301:1000::60 2001:b07:6474:51d8:c27e:427e:fe37:6356 \
        2001:bc8:701:40d:ae16:2dff:fea6:e868 2001:f40:906:11ff:b134:38e8:e87:91f4 2001:1620:542c:210::100 \
        2001:18b8:0:100:0:b00b:420:69 2001:19f0:6801:6ec:2::1 2001:1bc0:c1::2000 \
        2001:1c00:da07:9000:a863:dde4:b83e:f696 2001:4060:4419:8001::42 2001:41d0:403:20b5::21 \
        2001:4dd0:3564:0:9c1c:cc31:9fe8:5505 2001:8003:941b:ca00:f22f:74ff:fe1e:5b33 2001:b030:2422::208d \
        2003:106:e707:5700:2ff1:5e50:9a78:e6b1 2400:8901::f03c:92ff:fe4e:95f3 2401:b140:3::44:120 \
        2401:d002:2103:400:211:32ff:fe9e:7ae3 2405:6581:1f40:2f00:83b:c416:36b9:9bd9 \
        2405:9800:bc30:dc7d:5b2c:6a8c:95f6:4d75 2406:3003:2005:2512:c426:e0b6:4d47:ab3f \
        2407:3640:2107:1278::1 2409:8a00:2496:880:214:e8b7:18b:41f 240f:cb:7c3:1:be24:11ff:fe1f:8c79 \
        2600:1700:3948:82f:84c8:1aff:fef7:2e5d 2600:1f18:719a:e302:2758:8042:929f:a384 \
        2600:4040:2024:b800::1:f4ae 2601:647:6380:8f6a::da5 2603:300a:912:627a:be24:11ff:fe7b:39c3 \
        2603:80a0:700:1886::39 2603:9001:3600:2502::b 2604:4500:6:285::18 2605:21c0:2000:11:204:194:220:40 \
        2605:59c8:2400:84c3:590c:cbe0:cd7e:869a 2605:6440:3001:a9:3eec:efff:fe20:9b2c 2605:a142:2293:2693::1 \
        2607:9280:b:73b:250:56ff:fe14:25b5 2607:f178:10:43:756:3a3f:e3bb:e7e3 2607:f2c0:f00e:300::54 \
        2620:6:2003:105:67c:16ff:fe51:58bf 2620:6e:a000:1:42:42:42:42 2804:431:e038:cd01:aaa1:59ff:fe0d:44b8 \
        2a00:1e:e083:af01:b62e:99ff:fe7d:2521 2a00:11b7:1131:c800:2a0:98ff:fe1a:bd59 \
        2a00:12e0:101:99:20c:29ff:fe29:d03f 2a00:1398:4:2a03::bc03 2a00:13a0:3015:1:85:14:79:26 \
        2a00:1768:2001:27::ef6a 2a00:1f40:5001:108:5d17:7703:b0f5:4133 2a00:4d80::1 \
        2a00:6020:509e:a400:211:32ff:fe5c:369c 2a00:8a60:e012:a00::9001 \
        2a00:bba0:1204:3700:21e:6ff:fe4a:5378 2a00:d880:5:c2::d329 2a01:239:407:a700::1 \
        2a01:240:ad00:2502:3:81f1:7eff:2061 2a01:4f9:2a:1550::2 2a01:4ff:1f0:8517::1 \
        2a01:e0a:e6e:6bb0:2e0:4cff:fe68:232 2a01:e11:5008:5c70:a0b4:2f46:683e:4333 2a01:8740:1:753::e5cb \
        2a01:cb00:1428:ea00:56bf:64ff:fe1e:3403 2a02:768:f92b:db46:5e46:772b:71d:29b7 2a02:e5e:1:10::27 \
        2a02:1210:60e0:800:8d6e:134d:a0ca:ef24 2a02:13b8:f000:101::a 2a02:2780:9000:70::7 \
        2a02:3102:a130:26e0:eaf3:1128:359f:5d2d 2a02:7a01::91:228:45:130 2a02:7b40:50d1:e77e::1 \
        2a02:a468:61f8:1::2 2a02:c206:2172:2852::1 2a02:cb43:4000::178 2a03:ec0:0:928::701:701 \
        2a03:4000:5d:bd4:a8bf:78ff:fe98:7ea4 2a03:cfc0:8000:b::5fd6:3735 2a04:2180:dc03:2::13 \
        2a05:3580:d101:3700:: 2a05:6d40:b94e:d100:230:48ff:fedf:1432 2a06:e881:3408:2::2 2a09:2681:1001::23 \
        2a0b:f4c0:c1:920e:b25a:daff:fe87:77b4 2a0e:8f02:21d1:144::101 \
        2a0e:b107:1ef0:aaef:2601:f579:f7ac:a5ba 2a0e:e701:103e::4 2a0f:b780:300:1::2 \
        2a10:24c0:ad1b:ad1b:21b:21ff:febc:12f2 2a10:3781:3fff::1 2a11:6c7:f04:241::1:3 2a11:d540:531:b00b::5 \
        2a12:8e40:5668:e40c::1 2c0f:fb18:402:5::3",
    tor_v3: "\
        2j4blxfgc2ktgh3ygbd76xa2bbhy235m454tazag34pmf2w7m3bg3gyd \
        2nvlyn6j3asbqdltlpgqesljr2flv66ze5ycnr3ew2krzd6vuevuujad \
        3nn5cux3znccj3mptt232w3fvcopltkqxt762xauau6p66nsqtxljeid \
        3rx7ekxlz7win4wke62j5sk6pxft6w7aycazbfxhixgqvku5cbxc22id \
        457aw7llsegwsgbyywljxgd6fjcbv7efa37bh3wcl3stzpf7w5mr4oqd \
        46mw7goeegqz27oqp73vnrh7zd445de3lfjahcsw4uoyrehpnqcmy4qd \
        4rw4wtyzql7l4ifnvae3jgxza3pfg5izae6olk5jrgyh77cmgsljjiyd \
        5bdljec46m5f32qh7gbkjh3jkddpxtyt3xi7mvhixo3n3ycxveiyl3id \
        5hkf4ukqzuip5hs55t3jmpkaezzbc4dp3nhvzqhweaek5ejgby72dvyd \
        64tstelomwbus6why75tirum55omgo6offj7ob4tm5q7iy6sosocbzqd \
        7fpt5pv6ywtkdoakyoktyqdnqlycjlpkjwsz4nposnng5ndg25hwr6qd \
        ariwxra7aqzbb5fyashiu6a77nwgp2btvmwv3fb6a4kmfgpll2qcvtyd \
        ckqkcv3dk74rciwpxaogjeasmbol7pgsi6b4meznkwdzc6d2auym3nqd \
        dmk4rgpstuqevebihlb2rnlb656a75iyn3eokrews4ltax6thdhftkqd \
        ehdxwh4z6gx3kmzuo5s2okdip6mjdzjkjsmnlyf5oxaslnrsvumus4ad \
        jbktugcozicp4rbdo73imctccarghvb4ag4zsmsekqgcfpakbmh3inad \
        kmas6z5dnwg6vs4czqm3o7d3lcs6ihqiamxfue5irch72d25yjbgjead \
        kv5y4ktqw74itis4bevim34fjbgxjbzd4qyr6e65owklefeni6wp5sid \
        llbxif37camn6hytdgasnb4tqgubtewc7m4docg6ii3wnwszem5basyd \
        mrvsop5g43nmrxlf4a4nqrndftexragl74jt3mw5l3vrp47hdno6xqad \
        njgn2bolcd7r6m45egj3z2na5ygizaiwa7m6w76ur7rkhffy4bfzu7yd \
        oi7myopz4egfch47gdhqrawhqyjd7msnbvmebxlmwkxj2oc3v7jgfpqd \
        p24nb6icm2ul77eqrmgwdhtr3yuzobyprbdrvolcdbxi7yepshafiwyd \
        p2yyfyqo5v25lw74665uejgtu5uiwajbt53op67lnj4egb5acq4bujqd \
        q5auzukt3wvmm33ggcwr2ajya2cwwlu2qfegcsolekej6vl3dhh7slid \
        s4ycyfms6rgyaovivdqbyttmf4nxmf4xx2rnebzjlm4iuzh2frvxjaid \
        skbp5rd5i3igr55ehqul6r5y3g7rv2wcxcogambuqrmn7koast7dsfqd \
        sw5ed5kqi2ujy36ljajhsy7oee5qhq5u4onjivikevtor3gichrdcpad \
        tuypwxrtrma7vmk45wmsiuphacsxcsci7pqxdfaohsa5ejgswcix4xyd \
        v6hdsumwmt72iecmhfpqieakg6u37t5yl6vzrzo5wzejmwv7ajnn6lid \
        vl7jhrg6yz4mjgm5xe52t4xtcf4dgj7ovd3xb2d4eypzc2fb42cabcyd \
        vlp36ofuj46zpbrkpo2vmxjrkimsgocnsjojwxyhj726algpr4fq2sqd \
        w3vecku6tbnlbxkhlauw25eh7ra2h4nfhxuozgmfzshwlz47bny45did \
        x4u2dkz7tkbrrk6isgr76ueioykvgjdumglgsvpckkxkbmjdgquvo2ad \
        xb34gza24is3p3k62okovjuv67l42vfc6nivkvkw46lhnfbhamslnuqd \
        xkc2rjgoxvhrgk2gqyw2hktlmxfl3sqpl5v24ubnphe4n6thhsuux5qd \
        xts5yac4megadaovscuowx2q7frroyvtaanzr5x7x7cabp6i2grkzqad \
        xwqdtpbzeulple3qfbmldavkrj3uruewbyeytyhfa3um2twq2zbxzaid \
        yjew6ztu27l4nf6yeqjj2sjd65alknvyjbo7ptrfnv3oxvtnm6gnkbyd \
        zrggximdixhwt62lqktar4mjum3byusx36dc52kyqsv65apsmztabdad",
    i2p: "\
        3hziidrpzqvns4jwfqhzb7nydw4mtnnkawperfvnaru3zpup2ihq \
        3oa5fycx3tyechdfgootxcpap7sx7p3sawenrbzyyxrty74rt7zq \
        45eh6rxbfli4ju26cqaf63vfs5xx6zgt7hn3uzzz3nem45d4ps6q \
        4lmhn2xqfineeyquxxv5ixozqkn4eyuzcclk626q67impx5hnnhq \
        6wtsedonta5yojby77ateqk2opazkduz7bur7loo7ds3r2u6xvaq \
        7r4ri53lby2i3xqbgpw3idvhzeku7ubhftlf72ldqkg5kde6dauq \
        7wgrywhskd24kqqjvodx6bxnjnv374xlnrwssy7zqd4wza5drqmq \
        ajol74c46igadlezendhvwt56gcmrdcahu4jdabt7o6n4vn2xv6q \
        ayn7r3jdijhcl6t6gexmq45dw2tap2l67rn7xgoisaenkel74wha \
        azftalqowzsrodgik4xc3hjfglff5gqxzc5midgvweyv4pruyk3a \
        ciwvimts7zzoyrknhlowmzh35mzx4cluq7uycw3ffcckuov4tjjq \
        fk26lfbo2hpfhmzkn3gm6kxjsd2wcszx6arbzv3z2f7c4hs4nkea \
        gevhyfmgocdedifop2e6chs3xesb3dufjpwwsqyhjh7mf6qx22jq \
        hnmrabzioiwxj64ih237rxf2zbdttfndiepp7vikt2jko7ovvrkq \
        jrvg22xvbmjyrkqg7mr622zhnda3ijtua65cqngwrven7sf5zd7q \
        lvdbqavgdom5h5denwkmdwslfzxckf6eddwflelbog7tgo2m7usa \
        lwjrapkfexjyjqf2rrdr4ghhxmlr3jdygsonetgtheglvmru5x6q \
        lzanccluo7lzsg5zzlyomj44eabqvopb27vlbsargetjbib7shdq \
        o4tkad7wdeyarefuew2d3ytpwc45twkca5vobgidhuv6h74r3sfq \
        oggn6qbpmbag224gumagzgno53mgozb65tpzt5lezjbfbbiqky4q \
        omkilp7edzk7fpmml2fylar64pc5okaxuizv7tfqk2qmsfdokp4a \
        t66iyinlubtg4znht2a6gwwcyiftjosuq7xbur4gfekkhwymxoda \
        td6ecor7qphgru56xt2ydih6k6taj3tvp77zhimoj42t3lo5u7na \
        tpys7fw73bmglnjtitxebprgxthg6ew4gnhp54uc23cneef7si2q \
        u635477uxqs7z4uvwx224u6ojn3c3ewcb66f3j7qlbzqyrrevxja \
        upcwcphup3eoiq4oqcing5rplkcl64legnv63rxxr2v26at6i3hq \
        uv44mjoqrj3m3gzz5wxlnszt5pvgk3iqlc3pmqfe6un6gxays2cq \
        vuqk76jvxfk55bkovqcmmkvycmndee7j3tuv7ezdb2slrfpjyvoa \
        xofaehrg3ptjydgglyzkw36cxi6cgogkdt7yc4lmbng6vpnoegxq \
        yodn52qhw4v5aoaoqfsunvfecbbl6cyk5j4aq2pfm4otu63qlp6a \
        yphmy6w3myyy3am5awdksfyhbmmleqmblru3pfoajhjdilktwdca \
        zh34uj3cwyr7zs2uc4aeyrhffgumxd5uzpfpbmbuyetqkd3xy4ia",
    cjdns: "\
        fc11:f769:16e6:3611:58ae:1d4a:fcf7:57a4 fc17:4369:5414:4b1f:5689:d3ed:4039:335c \
        fc1f:22c3:95dc:a3af:4a93:8251:beb9:1858 fc34:e655:39da:169f:adcd:b1e8:534:3920 \
        fc55:6715:db3d:3f44:ec62:ea3d:ada9:cccb fc57:be98:b90c:89a2:6807:69a0:827:947e \
        fc5c:b3fc:84b4:1c7f:a5d8:4a91:dea5:3e19 fc71:12bd:f5e7:71b1:5b4e:4e3:6228:ac0 \
        fc95:6edb:af65:9ea3:cd27:21ef:f5e2:29c6 fca0:151:79ac:8992:b51e:bdc4:6ed9:41be \
        fcc7:be49:ccd1:dc91:3125:f0da:457d:8ce",
};

pub(super) static TESTNET3: Table = Table {
    ipv4: "\
        35.183.51.117 38.102.86.40 45.50.223.112 54.236.59.55 65.21.33.227 75.119.158.18 80.253.94.252 \
        91.123.182.164 95.141.35.117 95.213.143.91 121.45.34.75 129.226.198.211 137.184.2.124 143.92.61.230 \
        160.80.11.66 169.155.45.180 172.173.81.233 178.162.218.121 185.107.68.135 185.210.125.33 \
        188.42.129.156 188.213.90.149 193.30.123.70 206.204.104.7",
    ipv6: "\
        2001:5a8:4164:7a00::1f8 2001:b07:6469:3491:56be:f7ff:fe26:21bb 2001:41d0:700:6e79:: \
        2401:d002:3902:700:8708:37c4:e231:d3d8 2602:f480:ac:c010::71 2603:301f:301:7000:9c3:dcb0:c968:fd43 \
        2605:3380:422e:1::50 2605:4840:3:2c23::1 2804:431:e038:cd01:aaa1:59ff:fe0d:44b8 \
        2806:2f0:5681:f191:f597:a2cc:c53b:dc1d 2a01:4f8:190:4026::2 2a02:29e0:1:420::64 \
        2a02:c206:2075:3352::1 2a03:4000:2a:514::",
    tor_v3: "\
        2lsncqdflwk272dhydrxf7ikfy23ppnmm54dnynyxiym6lqf3wowrmqd \
        6fdbuqf2kgeweeoeikmwfezauys657lzezzus4nxmekkumouptg5ezad \
        aesy6tfufadkut6flu2bsqgnw2422ur2ynjalguxlzuzuktg3zehttqd \
        f472j4pynbgltb63mr2lhyvhecfqdjdcfmr2s2id4rreemyn32xtjuid \
        gggan3nuzxpd655lafnsunqfxgy56bvsxuuzucgmaowyvq3d7a7o7jad \
        guudgx24aokistytvm3hj7u5cbvdkr2b643r5t33pa536ekfn2lfykid \
        hvbmmzvqrpgps2x5u4ip4ksf3e5m2fneac754gtnhjn2rsevni6cz3ad \
        kamanho5clcpn5l3sc6ih3vb4skmfhgxw3h2mgs7e5idfezu5dw5oxyd \
        lh3wfz2n7xe2muwdjrz5vgnjwjx7lc6iifojhr2rh53ojkwo5dr66uyd \
        lwfecq35ocqjfbdq4h2qmcwl3cfcyiyycxtvrz36ihdbuczehi3bmrad \
        t6hfkkujktjyzpepmphskoaivflu6fieyuxrshxfzwriwvoa2uccvvqd \
        ueyykmnyqk2bnmbgvmqrb4jfbjvpgeew6cuq4gaqe7v2oiyxaubkx4qd \
        urhagmjceyqbzhjitpa7j7mygivxw3wlwqzkibw6zezrxeantkikgcyd \
        vctlwaqgmu53eutz2hewuakcipfgtyljsd7czut4dd62xr3rp6fqezad \
        wgc4wp25gtnb54vd7x5h2xtetzrdoiizeyyh6fv3vxzp3bbalejbd3ad \
        zhiju2obxifqpjbcm6xtlgjdbof7jhoctvw3x57vhiftstb5hi3gmsqd",
    i2p: "\
        hedmbfis4h4inqrwo2uzmku5xu6xaq74tg7sofnetqikdvndtvja \
        nhla3xzibmhvav7meemluh2d2jxdrlwicq636a2sohwqhrfgqi4a \
        o6j3b33bv26vthoqzjy3h7a3qsuqbtbe3ulajmjzsl43vaqyieyq \
        xgctj4seo3ofstiymoyeuzq74bvddrbr6jtia6erodlf5va3cz5a \
        xy6ytjxel5ku4naqumj4f6hn4agrzh3w44gqcs6xkkzwm5s3jdgq \
        zakpo2angzhk3w32dwtcbx4rt7cpw6adx3cs4helfqe3rlqn7vnq",
    cjdns: "\
        fc1f:22c3:95dc:a3af:4a93:8251:beb9:1858",
};

pub(super) static TESTNET4: Table = Table {
    ipv4: "\
        31.220.30.248 38.102.86.40 45.50.223.112 52.6.23.153 54.78.49.45 62.84.190.200 67.213.127.87 \
        80.253.94.252 95.141.35.117 103.69.87.64 103.165.192.210 103.232.248.31 104.237.131.138 \
        121.98.22.147 142.160.218.208 144.172.110.246 148.51.196.40 158.69.211.155 168.119.11.220 \
        174.177.47.73 185.254.97.76 193.30.123.70 195.154.199.2 222.66.94.2",
    ipv6: "\
        2001:5a8:4164:7a00::1f8 2001:b07:646f:c339:44d3:30b7:831b:da29 2001:bc8:1201:409:1618:77ff:fe5f:b12 \
        2001:df6:7280::92:201 2001:8003:941b:ca00:f22f:74ff:fe1e:5b33 2401:b140:4::92:205 2405:e480:2:1a::2 \
        2407:d000:a:88a:2b4:fce4:475e:5c1a 2602:fea7:e0d:1004:5b11:81e0:8bdd:1 2605:3380:422e:1::50 \
        2607:5300:205:200::5ff4 2a01:4f8:13a:684::2 2a01:e0a:423:1220:c880:98bc:e6bb:ecb0 \
        2a02:2f0a:5207:2d00:8f2:177d:eb7f:c1fc 2a02:c202:2234:7688::1 2a0d:3341:c42d:3501:8ec:3476:9ffe:a156",
    tor_v3: "\
        24i3bbceydddhykco65oai2dmxirqtvwyom3kyxwzaxbldaog4filyyd \
        2m4yjmxoamgtzskezmaqwrhfi5hnnzehv44q3fj3ryjwhtz5e53cqmyd \
        2pzxsv4k5ovuew7kb635kigs5zexhlxyruuznmuctvjoo4f5idp6iaqd \
        a6yijgwn4vtmmhl7uybtbuyvtl7mtj7arld5f4csqsx4syeii4gt3vqd \
        aqabn424rm7qq5faw2ecckkzxfdw57oncivjrurrrn5wgjdqjqxvxjad \
        c7nbt6bs5c7foimwc4wmwlrqd7fg22r76i22nglv2inx7tsav677gzyd \
        dnshzxr6osjf2l5gjsbattjtoefgkzmd3p3fdyatr5ltz243zspsilyd \
        f2tt2hdbqlbslvdlpworasoijtqfxlkkcabl2kbu7gptojc2synwq6qd \
        gujxforhwszry5falvnarfcyajjxxsuvqevx6gk6meou5ordrxw3mdad \
        jspxdo33gyrh3tewi55mn2fo5spczzgipq6ao7fa5qu6fj2ezr7bizid \
        mdiwdijucocysdvx5dk2iyo5wsav3ehyiggegzfk3ezfcce6nstp4nid \
        vfqxysj7olxstghkohezoembjnsyvpp2ph7kc4jaatvszyx2ajz627ad \
        vsyxxvrjv6zla6ptsiehgm4apid5plwgrigls5tkdjonhgkdb6w2f5qd \
        w2ntcsbljn2tumnepracciw7kie333sqp4zvblcmin75mmkw6rj3kkqd \
        we5rsalvz6fhp3345jydracg6wytxw5smsxzgusljvgcojadyfv2bzyd \
        wkvaxtftpwmmvrptqavx6mwhrcwiecbodtshuenvot3cjgxsycuurcid",
    i2p: "\
        3dxginlmkptubogdcvqfxhdghw55s7ezzq5dv5wl2xkfdgaencwq \
        7rn2pojst5aurdaes2qcwiigis55ewzjjhxfbxnua5calwuigxdq \
        f5736dnzv5uprze4l2xaicmf5x3l3d7iufojk5bwlzmupyftmh6a \
        fxioeepsp4cobxbjwwmutah3owelkqqod65bxtg3w477z6lcdp5a \
        l2viouupjbly7x5t4b7ctmd6n27pnd5h5gu6teyzirt3tiifooma \
        uzhycdhi435pwobpqxhb3jrw5kjb3j2cf55sizv3yoldemfbn3na",
    cjdns: "\
        fc1f:22c3:95dc:a3af:4a93:8251:beb9:1858",
};

pub(super) static SIGNET: Table = Table {
    ipv4: "\
        34.135.189.101 35.217.13.118 37.120.177.204 38.83.170.18 44.192.76.239 50.39.245.228 54.238.1.46 \
        88.209.210.230 95.141.35.117 109.94.97.143 121.74.232.175 129.226.149.150 136.144.237.250 \
        144.2.120.107 144.24.238.157 148.51.196.40 159.203.133.144 172.105.179.233 172.245.246.15 \
        176.9.62.27 185.9.0.189 185.202.239.115 208.68.4.50 217.216.75.182",
    ipv6: "\
        2001:5a8:4164:7a00::1f8 2001:41d0:347:e00:: 2400:8907::f03c:92ff:fe6f:ee2b \
        2401:2500:102:3007:153:126:143:201 2401:4900:1c6a:810f:defd:48fa:3f41:256a \
        2408:8916:111:5e80:ac0a:7865:6690:cf9 240e:38d:8bc8:e900:117f:b2d7:3f14:8612 2602:f480:ac:c010::71 \
        2604:a880:4:1d0::352:6000 2605:3380:422e:1::50 2a00:11c0:47:1c1c:: \
        2a00:23c8:9902:8e01:6931:7afd:251e:94e7 2a01:4f9:3090:23a5::2 2a01:7c8:d008:e9::3 \
        2a01:f500:aaaa:2400::a 2a02:4780:28:9259::1",
    tor_v3: "\
        2uqd5pbaxn26o7fl7nqtm2khetqocislppxtxrpqg55wtbcqdrf2y5qd \
        75ucqkuqndevjaqjnyfgyhzdfgcnknr6ki3skvkqjlxnrcfqc6wxqbad \
        bxc4ubehjtw4hl7yfz6erdok5z2h76s7f7jlx2amtzxil2fxxcm64byd \
        ecx2z3x4nwbzjh6dh6vyccljkhnxya2o2o2tz3pzvetxfjjmujxhctid \
        ejgeimjypsfuijpxzy5xpwmmjmkr4izwze6od5pw74csjglflib6nsid \
        evesnuatxlbwi3soc3dq7ebxgpsn6apluntne4smlnuepdbax346f4qd \
        hztyx76iaz4h3emavmzbuizqfg3q37ehfwr2k3afadtcmcepjsxhmeqd \
        jnr2iysiyijy7u7uihytbjiq3b254g4i2eaaeod7w7pkrja6ukghx2qd \
        k4d6h4eyeqjn35b3x46f4s3g3eykn4bms52paxuxenkre6nmhfvy6bqd \
        oowqbk36g76cs37sk7myfoq62e7ly42etcfugol3p7haw6ewyn5qhiqd \
        pmjm644pzkp2khwixyis2c7mnfbte33bnmwxdx5lk6t6owvtmapdbhqd \
        qbjhndk6zjpzxfetanqjud3u6kiuspnjfapinw2r5cou6o5ae5mxdzid \
        v7ajjeirttkbnt32wpy3c6w3emwnfr3fkla7hpxcfokr3ysd3kqtzmqd \
        w7d4rwjt5igozi5v7z2m3in2wm3zsf2lhsizqqohkyrokbbie5equoad \
        wevmujl2p6mckcwaxnmtusweros7bu3bxf2g3lzutnfdkjl5gwbu36yd \
        ww4jycomjwnf7jtrrrngeahokqkcl32iufmjzvvk272svieavabjyiqd",
    i2p: "\
        25g5trd4qasb2sbpkk5cvl256l6aiwcwjjqq7xso3ajvlgcvkpaq \
        g7cudei24hjktz4thkjqj4cevbtjemkr5ba6picuzf2j5qfpfloq \
        nmmoytmmcwq4aclmtrxk3askrv7mgy6l27uw67ozvyolwca2dr6a \
        nvqlkzsr45qgoppbeurrve3rjgfm3yzqls7dsc5rzvbhsk4hmy3a \
        regl2o33xgkhnuu5ywr7tw72dio46j6tylz7zpdl6pfaqsktboea \
        rkf5lugxqdjrxva2n5wl43okxrqmm6prlf7arci4bgg4md55oo2a",
    cjdns: "\
        fc1f:22c3:95dc:a3af:4a93:8251:beb9:1858",
};
