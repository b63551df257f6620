"""Configuration files: read completely, or refused with every reason."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args

import pytest
import yaml
from hypothesis import example as case
from hypothesis import given
from hypothesis import strategies as st

from edgespike.cli import main
from edgespike.cli.initial import HEADING, proposed_board
from edgespike.config import Config, default_node, default_state_dir, load_config
from edgespike.errors import ConfigError, MissingInputError
from edgespike.model.config import KEY_VALUE_PRECISIONS, PRECISIONS
from edgespike.profiles import BoardPrecision, KeyValues, name_problem, shipped_directory
from edgespike.settings.declared import Reader, Secret, Setting, declared_fields, optional_of
from edgespike.settings.describe import example, json_schema, listing
from edgespike.settings.yamltree import MAX_BYTES, FileProblems, parse

EXAMPLES = sorted(shipped_directory("config_examples").glob("*.yaml"))


@pytest.fixture
def load(tmp_path: Path) -> Any:
    def write_and_load(text: str, **environ: str) -> Config:
        path = tmp_path / "edgespike.yaml"
        path.write_text(text, encoding="utf-8")
        return load_config(path, environ)

    return write_and_load


@pytest.fixture
def problems(load: Any) -> Any:
    def of(text: str, **environ: str) -> list[str]:
        """The problems of a configuration, each as `line: path: message`."""
        with pytest.raises(ConfigError) as caught:
            load(text, **environ)
        return [re.sub(r".*edgespike\.yaml:", "", line) for line in str(caught.value).split("\n")]

    return of


def test_a_broker_is_configuration_enough(load: Any) -> None:
    config = load("broker: {host: localhost}")
    assert (config.broker.host, config.broker.resolved_port) == ("localhost", 1883)
    assert config.model.path == "bundled"
    assert config.board.name == "generic-one-core"
    assert [source.profile.name for source in config.sensors][:2] == ["zigbee2mqtt", "tasmota"]
    assert config.topic("prompt") == f"edgespike/{config.node}/prompt"


def test_an_empty_file_is_all_defaults(load: Any) -> None:
    assert load("") == load("# nothing\n") == load("broker:\n")


def test_no_sensors_is_a_choice(load: Any) -> None:
    assert load("sensors: []").sensors == ()


def test_every_error_is_reported_at_once_with_its_line_and_the_nearest_key(problems: Any) -> None:
    assert problems(
        "node: Kitchen!\n"
        "broker:\n"
        "  hots: localhost\n"
        "  port: 99999\n"
        "promts: {}\n"
        "prompts: {default_max_tokens: 900}\n"
        "sensors:\n"
        "  - profile: zigbee2mqt\n"
        "  - {profile: plain-number, topics: [a/b#]}\n"
        "logging: {level: verbose}\n"
    ) == [
        "5: promts: unknown key; did you mean prompts?",
        "1: node: has 1 to 64 of a-z, 0-9, - _ and . with a letter or digit first and last",
        "3: broker.hots: unknown key; did you mean host?",
        "4: broker.port: must be at most 65535, is 99999",
        "8: sensors[0].profile: unknown sensor profile 'zigbee2mqt'; did you mean zigbee2mqtt?",
        "9: sensors[1].topics[0]: 'b#': + and # stand alone between slashes",
        "6: prompts.default_max_tokens: must be at most max_tokens (512)",
        "10: logging.level: unknown choice 'verbose'; known: debug, info, warning, error",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("broker: [1]", "1: broker: must be a mapping (key: value)"),
        ("sensors: {}", "1: sensors: must be a list ([a, b], or lines that start with -)"),
        ("broker: {host: [a]}", "1: broker.host: must be a single value"),
        ("broker: {host: }", "1: broker.host: has no value"),
        ("broker: {port: 1.5}", "1: broker.port: must be a whole number, not '1.5'"),
        ("broker: {port: 1" + "0" * 99 + "}", "must be a whole number"),
        ("model: {verify: maybe}", "must be true or false, not 'maybe'"),
        ("model: {isa: avx}", "unknown choice 'avx'; did you mean avx2?"),
        ("context: {history: 1 week}", "must be a time such as 90s or 5m"),
        ("context: {history: 1}", "must be at least 60"),
        ("broker: {password: x}", "1: broker.password: needs a username"),
        ("broker: {host: 'mqtt://x'}", "without a scheme"),
        ("broker: {tls: {ca_file: nowhere.pem}}", "no such file"),
        ("broker: {tls: {key_file: edgespike.yaml}}", "key_file: needs cert_file"),
        ("node: a/b", "node: has 1 to 64"),
        ("node: a+b", "node: has 1 to 64"),
        ("prompts: {response_prefixes: [edge]}", "must end with /"),
        ("prompts: {response_prefixes: ['#/']}", "no + or #"),
        ("board: {threads: 2}", "board.threads: must be at most cores (1)"),
        ("board: generic", "unknown board profile 'generic'; did you mean generic-"),
        ("sensors: [{profile: senml, base: a/#}]", "no + or #"),
        ("sensors: [{base: a}]", "sensors[0].profile: must be given"),
        ("sensors: [{profile: ../../etc/passwd}]", "unknown sensor profile"),
        ("sensors: [{profile: {decoder: jsn}}]", "unknown choice 'jsn'; did you mean json?"),
        ("triggers: [{name: a, channels: b}]", "triggers[0].name: needs exactly one condition"),
        ("triggers: [{name: a, channels: b, above: 1, stale: true}]", "needs exactly one"),
        ("triggers: [{name: a, channels: b, above: 1, below: 2}]", "must not be less than below"),
        ("triggers: [{name: a, channels: b, above: 1, hysteresis: -1}]", "must not be negative"),
        ("triggers: [{name: a, channels: b, stale: true, hysteresis: 1}]", "belongs to above"),
        ("triggers: [{name: a, channels: b, above: 3, below: 1, hysteresis: 5}]", "larger than"),
        ("triggers: [{name: a, channels: b, changes: true, held_for: 1s}]", "for no time"),
        ("triggers: [{name: a, channels: b, stale: true, ask: '{nam}?'}]", "did you mean {name}?"),
        ("triggers: [{name: a, channels: b, stale: true, ask: '{0}?'}]", "known: name, value"),
        ("triggers: [{name: a, channels: b, stale: true, ask: ' '}]", "has 1 to 1000"),
        (
            "triggers:\n- {name: a, channels: b, stale: true}\n- {name: a, channels: c, above: 1}",
            "3: triggers[1].name: 'a' is there twice",
        ),
        ("{node: a, group: a}", "group: must not be the node's own name"),
        ("group: a/b", "group: has 1 to 64"),
        ("prometheus: {listen: 9464}", "must be an address and a port"),
        ("prometheus: {listen: '127.0.0.1:99999'}", "must be an address and a port"),
        ("homeassistant: {prefix: 'a/#'}", "no + or #"),
        ("edge_ai: {device: 'a/+'}", "no + or #"),
        ("edge_ai: {device: a/b/}", "has no empty level"),
        ("edge_ai: {device: $SYS/a}", "topics that begin with $ are the broker's"),
        ("profile_dirs: [nowhere]", "1: profile_dirs: no such directory: "),
        ("a: 1\na: 2", "2: a: given twice (first in line 1)"),
        ("node: !secret x", "${ENVIRONMENT} or {credential: name}"),
        ("node: !!python/object/apply:os.system [x]", "tags such as tag:yaml.org"),
        ("? [a]\n: b", "a key must be a text"),
        ("node: *x", "*x isn't defined before this line"),
        ("a: &x [*x]", "*x isn't defined before this line"),
        ("node: 'x", "not YAML"),
        ("broker:\n\thost: a", "2: not YAML: a tab where spaces belong"),
        ("node: a\nbroker: {host: ${X}}", "2: not YAML: expected"),
        ("node: a\nbroker: {host: ${X}}", 'within {} write "${NAME}", with quotes'),
        ("node: x\x01", "U+0001"),
        ("---\na: 1\n---\nb: 1", "more than one document"),
        ("[" * 2000, "nested deeper than 24 levels"),
        ("- a", "1: must be a mapping"),
        ("x" * (MAX_BYTES + 1), "larger than 256 KiB"),
    ],
)
def test_a_mistake_is_named(problems: Any, text: str, problem: str) -> None:
    assert problem in "\n".join(problems(text))


def test_aliases_work_but_cannot_explode(load: Any, problems: Any) -> None:
    config = load(
        "sensors:\n"
        "  - profile: plain-number\n"
        "    channels:\n"
        "      a: &common {low: 1, high: 5}\n"
        "      b: {<<: *common, high: 9}\n"
        "      c: *common\n"
    )
    channels = config.sensors[0].channels
    assert (channels["b"].low, channels["b"].high, channels["c"].high) == ("1", "9", "5")
    laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9)
    )
    assert "more than 20000 values" in problems(laughs)[0]


def test_limits_keep_the_text_that_was_written(load: Any) -> None:
    source = load(
        "sensors: [{profile: plain-number, channels: {'a b': {low: 1.50, high: '21.0'}}}]"
    ).sensors[0]
    assert (source.settings_of("a b").low, source.settings_of("a b").high) == ("1.50", "21.0")


@pytest.mark.parametrize(
    ("limits", "problem"),
    [
        ("{low: 2, high: 1}", "high: must be above low"),
        ("{low: nan}", "low: must be a number, not 'nan'"),
        ("{low: 1e999}", "low: must be a number"),
        ("{high: 1, hysteresis: -1}", "hysteresis: must not be negative"),
        ("{low: 0, high: 1, hysteresis: 2}", "hysteresis: must not be larger than high - low"),
        ("{rename: ''}", "rename: has 1 to 64 printable characters"),
        ('{rename: "a\\nb"}', "rename: has 1 to 64 printable characters"),
        ("{hihg: 5}", "did you mean high?"),
    ],
)
def test_senseless_limits_are_refused(problems: Any, limits: str, problem: str) -> None:
    text = f"sensors: [{{profile: plain-number, channels: {{a: {limits}}}}}]"
    assert problem in problems(text)[0]


def test_channel_patterns_add_up_and_later_ones_win(load: Any) -> None:
    source = load(
        "sensors:\n"
        "  - profile: plain-number\n"
        "    channels:\n"
        "      '* temperature': {high: 28, hysteresis: 1}\n"
        "      Living_Room temperature: {high: 25, rename: lounge}\n"
    ).sensors[0]
    lounge = source.settings_of("living room temperature")
    assert (lounge.high, lounge.hysteresis, lounge.rename) == ("25", "1", "lounge")
    assert source.settings_of("hall temperature").high == "28"
    assert source.settings_of("hall humidity").high is None


def test_values_come_from_the_environment(load: Any, problems: Any) -> None:
    config = load(
        "node: ${NODE:-hall}\nbroker: {host: '${HOST}.lan', port: '${PORT}'}\n",
        HOST="mqtt",
        PORT="1884",
    )
    assert (config.node, config.broker.host, config.broker.port) == ("hall", "mqtt.lan", 1884)
    assert problems("node: ${NODE}") == [
        "1: node: the environment variable NODE isn't set; ${NODE:-...} has a default"
    ]
    assert "'${NODE'" in problems("node: ${NODE")[0]
    assert "'${9}'" in problems("node: ${9}")[0]


def test_what_the_environment_says_is_never_yaml(load: Any, problems: Any) -> None:
    config = load("broker: {username: '$${X}', host: '${X}'}", X="a")
    assert config.broker.username == "${X}"
    assert "must be a host name" in problems("broker: {host: '${X}'}", X="a, port: 1")[0]
    assert load("broker: {username: '${X}'}", X="{a: 1}").broker.username == "{a: 1}"


def test_values_come_from_systemd_credentials(load: Any, problems: Any, tmp_path: Path) -> None:
    (tmp_path / "mqtt").write_text("hunter2\n")
    text = "broker: {username: u, password: {credential: mqtt}}"
    config = load(text, CREDENTIALS_DIRECTORY=str(tmp_path))
    assert config.broker.password == Secret("hunter2")
    assert "CREDENTIALS_DIRECTORY isn't set" in problems(text)[0]
    missing = problems(text.replace("mqtt", "other"), CREDENTIALS_DIRECTORY=str(tmp_path))
    assert "credential other: No such file" in missing[0]
    escape = problems(text.replace("mqtt", "../x"), CREDENTIALS_DIRECTORY=str(tmp_path))
    assert "only letters, digits" in escape[0]


def test_a_secret_shows_itself_nowhere(load: Any, tmp_path: Path, capsys: Any) -> None:
    config = load("broker: {username: u, password: hunter2}")
    assert config.broker.password.reveal() == "hunter2"
    assert main(["config", "show", str(tmp_path / "edgespike.yaml")]) == 0
    shown = capsys.readouterr().out
    assert "***" in shown
    for text in (shown, repr(config), str(config.broker.password), f"{config.broker.password}"):
        assert "hunter2" not in text


def test_paths_start_from_the_file(load: Any, tmp_path: Path) -> None:
    config = load("model: {path: m.safetensors}\nstate_dir: /var/x\n")
    assert config.model.path == tmp_path / "m.safetensors"
    assert config.state_dir == Path("/var/x")


def test_own_choices_override_the_boards(load: Any) -> None:
    config = load("board: {cores: 2, threads: 2, isa: generic, keepalive_s: 50}")
    assert (config.threads, config.isa, config.keepalive_s) == (2, "generic", 50)
    config = load("board: raspberry-pi-5\nmodel: {threads: 1, isa: avx2}\nbroker: {keepalive_s: 9}")
    assert (config.threads, config.isa, config.keepalive_s) == (1, "avx2", 9)


def test_tls_changes_the_default_port(load: Any) -> None:
    assert load("broker: {tls: {}}").broker.resolved_port == 8883
    assert load("broker: {tls: {}, port: 1}").broker.resolved_port == 1


def test_yaml_words_mean_what_the_setting_wants(load: Any) -> None:
    """`no` is a fine node name, and `off` a truth value."""
    assert load("node: no").node == "no"
    assert load("node: 0x10").node == "0x10"
    assert load("model: {verify: off}").model.verify is False


def test_a_missing_file_is_missing_input(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError):
        load_config(tmp_path / "none.yaml")


def test_a_file_that_is_not_utf8_says_where(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"node: a\nbroker: {username: M\xfcller}\n")
    with pytest.raises(ConfigError, match=r"latin\.yaml:2: isn't UTF-8"):
        load_config(path)


def test_default_names_are_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    for host in ("Küche_1.lan", "raspberrypi", "---", "x" * 80):
        monkeypatch.setattr("socket.gethostname", lambda host=host: host)
        assert name_problem(default_node()) is None
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/a:/var/lib/b")
    assert default_state_dir() == Path("/var/lib/a")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_a_shipped_example_loads(path: Path) -> None:
    load_config(path, {})


def full_example() -> str:
    """The commented configuration of every setting."""
    return example(Config, HEADING)


def test_the_full_example_is_the_one_that_the_declarations_give() -> None:
    shipped = (shipped_directory("config_examples") / "full.yaml").read_text(encoding="utf-8")
    assert shipped == full_example()


def uncommented(text: str) -> str:
    """The full example with every setting set: without explanations (`# ...`) and comment marks."""
    lines = []
    for line in text.splitlines():
        marks = re.match(r"[ #]*", line)[0]
        if not marks.endswith("# ") or marks.endswith("  "):
            lines.append(marks.replace("#", "") + line[len(marks) :])
    return "\n".join(lines)


def test_every_value_in_the_full_example_is_valid_when_uncommented(
    load: Any, tmp_path: Path
) -> None:
    for name in ("ca.pem", "client.pem", "client.key"):
        (tmp_path / name).touch()
    (tmp_path / "profiles").mkdir()
    for name in ("mqtt_password", "mqtt_key_password"):
        (tmp_path / name).write_text("x")
    text = uncommented(full_example())
    text = re.sub(r"\n +changes_to: .*", "", text)  # a trigger has one condition
    assert "hysteresis: 0.5" in text
    config = load(text, CREDENTIALS_DIRECTORY=str(tmp_path))
    assert config.sensors[0].channels["boiler temperature"].high == "26.5"
    assert config.broker.tls.ca_file == tmp_path / "ca.pem"


def declared_classes(cls: type) -> Iterator[type]:
    yield cls
    for field in declared_fields(cls):
        for kind in (field.kind, optional_of(field.kind), *get_args(field.kind)):
            if isinstance(kind, type) and hasattr(kind, "__dataclass_fields__"):
                yield from declared_classes(kind)


def test_every_setting_is_documented_and_shows_a_value() -> None:
    for cls in set(declared_classes(Config)):
        for field in declared_fields(cls):
            assert field.setting.doc.endswith((".", "...")), (cls, field.name)


def test_the_schema_accepts_the_examples_and_names_every_setting(load: Any) -> None:
    schema = json_schema(Config, "x")
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) == {field.name for field in declared_fields(Config)}
    port = schema["$defs"]["Broker"]["properties"]["port"]
    assert port["anyOf"][0]["anyOf"][0] == {"type": "integer", "minimum": 1, "maximum": 65535}
    assert json.loads(json.dumps(schema)) == schema
    for path in EXAMPLES:
        body = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert set(body) <= set(schema["properties"])


def test_what_is_shown_can_be_loaded_again(load: Any) -> None:
    config = load("node: hall\nsensors: [{profile: tasmota, channels: {a: {high: 2.50}}}]")
    again = load(yaml.safe_dump(listing(config), allow_unicode=True))
    assert again == config


def test_the_boards_precisions_are_the_models() -> None:
    assert get_args(BoardPrecision) == PRECISIONS
    assert get_args(KeyValues) == KEY_VALUE_PRECISIONS


@dataclass(frozen=True)
class Sample:
    """A declaring class with one field of each kind of text."""

    a: Annotated[str, Setting("a.")] = ""
    b: Annotated[int | None, Setting("b.")] = None
    c: Annotated[tuple[float, ...], Setting("c.")] = ()
    d: Annotated[Secret | None, Setting("d.")] = None


@given(st.text(max_size=200))
def test_any_text_is_a_tree_or_problems(text: str) -> None:
    try:
        tree = parse(text, "f")
    except FileProblems as error:
        tree = None
        assert error.problems  # noqa: PT017
    if tree is not None:
        reader = Reader("f", Path("/"), {})
        assert (reader.read(Sample, tree) is None) == bool(reader.problems)


_YAMLISH = st.text(st.sampled_from("abcd:-[]{}&*!|>'\"#\n ,$?%@`~<1.\t"), max_size=60)


@given(_YAMLISH)
@case('"\n')  # the error is after the last line
def test_text_like_yaml_is_a_settings_object_or_problems(text: str) -> None:
    try:
        tree = parse(text, "f")
    except FileProblems:
        return
    reader = Reader("f", Path("/"), {"a": "1"})
    assert (reader.read(Sample, tree) is None) == bool(reader.problems)


def test_check_prints_what_the_configuration_means(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("node: hall\nsensors: [{profile: zigbee2mqtt, base: z2m}]")
    assert main(["config", "check", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "edgespike/hall/prompt" in shown
    assert "z2m/#" in shown


def test_check_reports_problems_as_json_too(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("node: hall\nmodle: {}")
    assert main(["config", "check", "--json", str(path)]) == 78
    report = json.loads(capsys.readouterr().out)
    assert report["problems"] == [
        {
            "file": str(path),
            "line": 2,
            "path": "modle",
            "message": "unknown key; did you mean model?",
        }
    ]
    assert main(["config", "check", str(path)]) == 78
    assert f"{path}:2: modle: unknown key" in capsys.readouterr().err


def test_check_names_a_model_that_is_not_there(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("node: hall\nmodel:\n  kv: int8\n  path: /nowhere/model.safetensors\n")
    assert main(["config", "check", str(path)]) == 78
    assert f"{path}:4: model.path: no such file: /nowhere" in capsys.readouterr().err
    model = tmp_path / "model.safetensors"
    model.touch()
    path.write_text(f"node: hall\nmodel: {{path: {model}}}\n")
    assert main(["config", "check", str(path)]) == 0


def test_check_looks_into_the_tls_files(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("broker:\n  tls:\n    server_name: b\n    ca_file: c.yaml\n")
    assert main(["config", "check", str(path)]) == 78
    said = capsys.readouterr().err
    assert f"{path}:4: broker.tls.ca_file: {path}: no certificate in PEM format" in said
    # The password of the key is with the service.
    locked = "tls: {cert_file: c.yaml, key_password: {credential: key}}"
    path.write_text(f"broker:\n  {locked}\n")
    assert main(["config", "check", str(path)]) == 0


def test_init_takes_settings_as_options(tmp_path: Path) -> None:
    path, ca = tmp_path / "c.yaml", tmp_path / "ca certificate.pem"
    ca.touch()
    (tmp_path / "mqtt_password").write_text("secret")
    words = ["--node", "cellar", "--host", "broker.example", "--port", "18883"]
    words += ["--username", "edgespike", "--ca", str(ca), "--board", "intel-n97"]
    words += ["--sensors", "tasmota", "shelly", "--output", str(path)]
    assert main(["config", "init", *words]) == 0
    config = load_config(path, {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert (config.node, config.broker.host, config.broker.resolved_port) == (
        "cellar",
        "broker.example",
        18883,
    )
    assert config.broker.tls is not None
    assert config.broker.tls.ca_file == ca
    assert (config.broker.username, config.broker.password) == ("edgespike", Secret("secret"))
    assert (config.board.name, len(config.sensors)) == ("intel-n97", 2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--node", "A B"], "node: has 1 to 64"),
        (["--port", "many"], "broker.port: must be a whole number"),
        (["--board", "intel-n98"], "did you mean intel-n97?"),
        (["--sensors", "shely"], "did you mean shelly?"),
        (["--ca", "nowhere.pem"], "no such file"),
    ],
)
def test_init_refuses_what_the_configuration_would(
    words: list[str], said: str, capsys: Any
) -> None:
    assert main(["config", "init", *words]) == 64
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert said in err


def test_init_asks_on_a_terminal_until_the_answer_will_do(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    ours, theirs = pty.openpty()
    answers = ["no good", "cellar", "", "", "", "", "tasmota, shely", "tasmota, shelly", "yes", ""]
    os.write(ours, "".join(f"{answer}\n" for answer in [*answers, "\x04"]).encode())
    command = [sys.executable, "-m", "edgespike", "config", "init", "--output", str(path)]
    subprocess.run(command, stdin=theirs, stderr=theirs, check=True, stdout=subprocess.DEVNULL)
    said = os.read(ours, 65536).decode()
    os.close(ours)
    os.close(theirs)
    config = load_config(path, {})
    assert (config.node, config.homeassistant.enabled) == ("cellar", True)
    assert [source.profile.name for source in config.sensors] == ["tasmota", "shelly"]
    assert "has 1 to 64" in said
    assert "did you mean shelly?" in said


def test_a_board_is_proposed_by_what_the_machine_says_of_itself(tmp_path: Path) -> None:
    path = tmp_path / "cpuinfo"
    for said, board in (
        ("model name\t: Intel(R) N97\n", "intel-n97"),
        ("model name\t: Intel(R) Atom(TM) x7425E\n", "intel-atom-x7000e"),
        ("model name\t: Intel(R) Atom(TM) x7-Z8700  CPU @ 1.60GHz\n", None),
        ("model name\t: AMD Phenom(tm) II N970 Quad-Core Processor\n", None),
        ("model name\t: AMD Ryzen Embedded R1606G with Radeon Vega Gfx\n", "amd-r1606g"),
        ("Raspberry Pi 5 Model B Rev 1.0\0", "raspberry-pi-5"),
        ("model name\t: something else\n", None),
    ):
        path.write_text(said)
        assert proposed_board([path, tmp_path / "absent"]) == board


def test_check_does_not_look_for_what_only_the_unit_has(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("broker: {username: me, password: {credential: absent}}\n")
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert main(["config", "check", str(path)]) == 0
    assert "not looked for absent" in capsys.readouterr().out
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert main(["config", "check", str(path)]) == 78


def test_init_never_overwrites(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "c.yaml"
    assert main(["config", "init", "--output", str(path)]) == 0
    assert path.read_text(encoding="utf-8") == full_example()
    assert main(["config", "init", "--output", str(path)]) == 64
    assert "exists" in capsys.readouterr().err
    assert main(["config", "init", "--example", "home"]) == 0
    assert "zigbee2mqtt" in capsys.readouterr().out
    assert main(["config", "init", "--example", "x"]) == 64


def test_try_shows_what_a_message_would_do(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("sensors: [{profile: plain-number, topics: ['plant/+/pressure']}]")
    assert main(["config", "try", str(path), "plant/pump-07/pressure", "4.20"]) == 0
    assert capsys.readouterr().out == "pump-07 pressure: 4.20\n"
    assert main(["config", "try", str(path), "other", "4.20"]) == 0
    assert "updates no channel: 1 ignored" in capsys.readouterr().out
