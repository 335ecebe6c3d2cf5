use super::*;

const HEADS: &str =
    "schema = 1\nname = 'heads'\nkind = 'coins'\nseed = 1\ntrials = 10\ncoins = 4\nchance = 0.5\n";

fn load(text: &str) -> Result<Runnable, Error> {
    parse(Path::new("heads.toml"), text, &Kinds::default(), Overrides::default())
}

fn names(text: &str) -> Vec<String> {
    load(text).unwrap().experiment.cells.into_iter().map(|cell| cell.name).collect()
}

#[test]
fn cells_are_those_given_times_what_is_swept() {
    assert_eq!(names(HEADS), ["all"]);
    let sweep = "[sweep]\n'coins' = [1, 2]\n'chance' = [0.5, 1.0]\n";
    assert_eq!(
        names(&format!("{HEADS}{sweep}")),
        ["chance=0.5, coins=1", "chance=0.5, coins=2", "chance=1.0, coins=1", "chance=1.0, coins=2"]
    );
    let cells =
        "[[cell]]\nname = 'fair'\nset = { chance = 0.5 }\n[[cell]]\nname = 'sure'\nset = { 'chance' = 1 }\n";
    assert_eq!(names(&format!("{HEADS}{cells}")), ["fair", "sure"]);
    let both = format!("{HEADS}[sweep]\ncoins = [1, 2]\n{cells}");
    assert_eq!(names(&both), ["fair, coins=1", "fair, coins=2", "sure, coins=1", "sure, coins=2"]);
    let cell = &load(&both).unwrap().experiment.cells[3];
    assert_eq!(cell.settings, serde_json::json!({ "chance": 1, "coins": 2 }));
    assert_eq!((cell.given.as_deref(), &cell.at["coins"]), (Some("sure"), &serde_json::json!(2)));
}

#[test]
fn a_cell_expects_what_all_do_unless_it_says_otherwise() {
    let text = format!(
        "{HEADS}[expect]\nall = {{ at_most = 1, source = 'file' }}\nheads = {{ at_least = 0, source = 'file' }}\n\
         [[cell]]\nname = 'a'\nexpect = {{ all = {{ at_most = 0.5, source = 'cell' }} }}\n[[cell]]\nname = 'b'\n"
    );
    let cells = load(&text).unwrap().experiment.cells;
    let sources = |cell: usize| cells[cell].expect.values().map(|one| one.source.clone()).collect::<Vec<_>>();
    assert_eq!(
        (sources(0), sources(1)),
        (vec!["cell".into(), "file".into()], vec!["file".into(), "file".into()])
    );
}

#[test]
fn what_is_said_elsewhere_counts() {
    let overrides = Overrides { seed: Some(u64::MAX), trials: Some(7) };
    let runnable = parse(Path::new("x"), HEADS, &Kinds::default(), overrides).unwrap();
    assert_eq!((runnable.experiment.seed, runnable.experiment.trials), (u64::MAX, 7));
    assert_ne!(runnable.experiment.digest(), load(HEADS).unwrap().experiment.digest());
}

#[test]
fn a_trials_seed_depends_on_the_cells_name_and_on_nothing_else_of_the_file() {
    let few = load(&format!("{HEADS}[sweep]\ncoins = [2]\n")).unwrap().experiment;
    let many = load(&format!("{HEADS}[sweep]\ncoins = [1, 2]\n")).unwrap().experiment;
    assert_eq!(few.trial_seed(0, 5), many.trial_seed(1, 5));
    let distinct = BTreeSet::from([many.trial_seed(0, 5), many.trial_seed(1, 5), many.trial_seed(1, 6)]);
    assert_eq!(distinct.len(), 3);
}

#[test]
fn errors_say_where_and_what() {
    let expect = "[expect.all]\nsource = 's'\nat_most = 1\n";
    let cell = "[[cell]]\nname = 'fair'\n";
    let mut wrong = vec![];
    for (text, expected) in [
        ("schema = 1\nname = 'heads\n".to_owned(), "heads.toml:2:14: invalid literal string"),
        (String::new(), "heads.toml: there is no `schema`"),
        ("schema = 2".to_owned(), "heads.toml:1:1: this program reads schema 1, not 2"),
        ("schema = 'x'".to_owned(), "heads.toml:1:1: invalid type: string \"x\""),
        (HEADS.replace("'heads'", "'../heads'"), "heads.toml:2:1: a name has 1 to 64"),
        (HEADS.replace("'coins'", "'dice'"), "no model is of kind `dice`, but of `coins`"),
        (HEADS.replace("trials = 10", "trials = 0"), "heads.toml:5:1: a cell has 1 to"),
        (HEADS.replace("seed = 1", "seed = -1"), "heads.toml:4:1: invalid value: integer `-1`"),
        (HEADS.replace("seed = 1\n", ""), "there is no `seed`"),
        // Keys that nobody knows, wherever they stand.
        (
            format!("{HEADS}coin = 4\n"),
            "heads.toml:8:1: in cell `all`: unknown field `coin`, expected `coins` or",
        ),
        (format!("{HEADS}[sweeps]\ncoins = [4]"), "heads.toml:8:2: in cell `all`: unknown field `sweeps`"),
        (format!("{HEADS}[sweep]\ncoin = [4]"), "heads.toml:9:1: in cell `coin=4`: unknown field `coin`"),
        (format!("{HEADS}[sweep]\n'a.0.b' = [4]"), "heads.toml:9:1: in cell `a.0.b=4`: unknown field `a`"),
        (format!("{HEADS}{cell}seed = 1"), "heads.toml:10:1: unknown field `seed`, expected one of `name`"),
        (format!("{HEADS}{expect}sources = 1"), "heads.toml:11:1: `all`: unknown field `sources`"),
        (format!("{HEADS}[stop]\nmetric = 'all'\nhalf = 1"), "heads.toml:10:1: unknown field `half`"),
        (format!("{HEADS}[figures]\nxs = 1"), "heads.toml:9:1: unknown field `xs`"),
        // What can't be.
        (
            format!("{HEADS}[stop]\nmetric = 'all'\nhalf_width = 0"),
            "heads.toml:10:1: `half_width` is more than 0",
        ),
        (format!("{HEADS}[figures]\nx = 'coins'"), "heads.toml:9:1: `x` is a path that is swept"),
        (format!("{HEADS}[sweep]\ncoins = []"), "heads.toml:9:1: `coins` is swept over no value"),
        (format!("{HEADS}[sweep]\ncoins = [4, 4]"), "heads.toml:9:1: `coins` has a value twice"),
        (format!("{HEADS}[sweep]\ncoins = 4"), "heads.toml:9:1: `coins`: invalid type: integer `4`"),
        (format!("{HEADS}[sweep]\nseed = [4]"), "heads.toml:9:1: `seed` is the experiment's"),
        (format!("{HEADS}[sweep]\n'coins.0' = [4]"), "heads.toml:9:1: `coins` is a value"),
        (format!("{HEADS}when = 1979-05-27"), "heads.toml:8:1: dates are written as strings"),
        (format!("{HEADS}{cell}{cell}"), "heads.toml:8:3: two cells are called `fair`"),
        (
            format!("{HEADS}[sweep]\ncoins = [1]\n{cell}set.coins = 2"),
            "heads.toml:12:5: `coins` is swept as well",
        ),
        (
            format!("{HEADS}{cell}set.chance = 2"),
            "heads.toml:10:5: in cell `fair`: `chance` is a number from 0 to 1",
        ),
        (HEADS.replace("0.5", "inf"), "heads.toml:7:1: numbers are finite"),
        (HEADS.replace("4", "'4'"), "heads.toml:6:1: in cell `all`: `coins`: invalid type: string \"4\""),
        (format!("{HEADS}[expect.all]\nsource = 's'\n"), "heads.toml:8:9: `all`: nothing says what passes"),
        (format!("{HEADS}[expect.all]\nat_most = 1\n"), "heads.toml:8:9: `all`: missing field `source`"),
    ] {
        let error = load(&text).err().map(|error| error.to_string()).unwrap_or_default();
        if !error.contains(expected) {
            wrong.push(format!("{text}\n  gave  {error}\n  not   {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn what_is_hostile_is_refused_at_once() {
    let values = (0..101).map(|value| value.to_string()).collect::<Vec<_>>().join(", ");
    let many = format!("{HEADS}[sweep]\ncoins = [{values}]\nchance = [{values}]\n");
    let deep = format!("{HEADS}deep = {}", "[".repeat(300_000));
    let large = format!("{HEADS}# {}", "x".repeat(LARGEST));
    let long = format!("{HEADS}[sweep]\n'{}b' = [1]\n", "a.".repeat(100_000));
    let each = (0..MOST_CELLS).map(|value| value.to_string()).collect::<Vec<_>>().join(", ");
    let heavy = format!("{HEADS}mine = [{}0]\n[sweep]\ncoins = [{each}]\n", "0, ".repeat(200_000));
    let named = HEADS.replace("'heads'", &format!("'{}'", "x".repeat(1 << 19)));
    let kind = HEADS.replace("'coins'", &format!("'{}'", "x".repeat(1 << 19)));
    let typed = HEADS.replace("trials = 10", &format!("trials = '{}'", "x".repeat(1 << 19)));
    let key = format!("{HEADS}{} = 1\n", "x".repeat(1 << 19));
    for (text, expected) in [
        (many, "more than 10000 cells"),
        (deep, "max recursion depth"),
        (large, "at most 1048576"),
        (long, "at most 32 keys"),
        (heavy, "settings together, and there are at most 4000000"),
        (named, "1 to 64 of a-z"),
        (kind, "but of `coins`"),
        (typed, "invalid type: string"),
        (key, "expected `coins` or `chance`"),
    ] {
        let error = load(&text).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(expected), "{error}");
        assert!(error.len() < 5000, "nobody reads {} bytes", error.len());
    }
}
