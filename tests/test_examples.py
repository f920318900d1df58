"""The examples of layer/examples, each by the tool that it is for: accepted, and what comes out attaches the layer.

And the modules of layer/modules, through the examples that use them.

The tools are fetched when a test first needs them, into .cache, because together they would triple what a developer
has to install; hence the longer timeouts. Not tried are `terraform validate`, which wants the AWS provider from a
registry of its own (its schema is taken from elsewhere), `docker build`, which wants a daemon, version 4 of the
Serverless Framework, which asks its maker for a licence, and `pulumi up`, for which Pulumi's own test mode stands.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # it brings no types
from packages import FOLDER, package

from layer.build import ROOT, ZIP
from layer.build import unpack as unpack_layer
from sumo_internal import config
from sumo_internal.destinations import s3

EXAMPLES = ROOT / "layer/examples"
MODULES = ROOT / "layer/modules"
SECRET = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:sumo-AbCdEf"
PARAMETER = "sumoendpointsecretarn"
"""The one thing to set, in whatever spelling a tool prefers."""

CFN_LINT = "cfn-lint==1.58.0"
SAM = "aws-sam-translator==1.115.0"
HCL = "python-hcl2==8.1.4"
AWS_PROVIDER = "cdktf-cdktf-provider-aws==21.22.1"
"""Made from the schema of Terraform's AWS provider 6."""

CDK = "aws-cdk-lib==2.275.0"
OSLS = "osls@4.3.1"
"""The Serverless Framework as it was before it needed a licence, kept up to date."""
SERVERLESS = "serverless@3.40.0"
CDK_TYPESCRIPT = ("aws-cdk-lib@2.275.0", "constructs@10.5.1", "typescript@5.9.3", "@types/node@24.10.1")
PULUMI = "pulumi-aws==7.51.1"

fetches_a_tool = pytest.mark.timeout(300)
needs_node = pytest.mark.skipif(shutil.which("npm") is None, reason="there is no Node.js, which the tool runs on")


class Loader(yaml.SafeLoader):  # type: ignore[misc]  # as above
    """Reads CloudFormation's short forms: ``!Ref X`` is ``{"Ref": "X"}``."""


def _short_form(loader: Any, suffix: str, node: Any) -> dict[str, Any]:
    kinds = {"scalar": loader.construct_scalar, "sequence": loader.construct_sequence}
    value = kinds[node.id](node) if node.id == "scalar" else kinds[node.id](node, deep=True)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


Loader.add_multi_constructor("!", _short_form)


def load(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.load(path.read_text(), Loader)
    return content


def python_tool(requirement: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a tool from the package index."""
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(package(requirement, is_complete=True)), **variables}
    return subprocess.run([sys.executable, *arguments], env=environ, capture_output=True, text=True, check=False)


def node_packages(*requirements: str) -> Path:
    """A folder with packages from npm's registry, installed once per checkout."""
    folder = FOLDER / requirements[0].replace("/", "+")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with open(f"{folder}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / ".complete").exists():
            folder.mkdir(exist_ok=True)
            (folder / "package.json").write_text("{}")  # or npm looks for a project further up
            npm_install(folder, *requirements)
            (folder / ".complete").touch()
    return folder


def npm_install(project: Path, *requirements: str, **variables: str) -> None:
    """Have npm install packages, as the machine's own configuration has it: from where, and whom it trusts.

    In the project's folder, and not by ``--prefix``: by that option npm looks below the project for what is the
    machine's, too, and knows nothing any more of a certificate or a mirror that is set for all users.
    """
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", *requirements]
    environ = {**os.environ, **variables}
    ended = subprocess.run(command, cwd=project, env=environ, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def node_tool(requirement: str, command: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a tool from npm's registry."""
    folder = node_packages(requirement)
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "SLS_TELEMETRY_DISABLED": "1", "CI": "1"}
    environ |= {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nobody's"}
    tool = [str(folder / "node_modules/.bin" / command), *arguments]
    return subprocess.run(tool, cwd=cwd, env=environ, capture_output=True, text=True, check=False)


@needs_node
def test_npm_goes_where_the_machine_is_set_to(tmp_path: Path) -> None:
    """A registry that is set for all users is asked, with an empty HOME; what npm says of it is in the failure.

    Guards against tests that reach npm's registry on one machine only, and then say nothing but an exit code.
    """
    settings = tmp_path / "machine/etc/npmrc"
    settings.parent.mkdir(parents=True)
    settings.write_text("registry=http://127.0.0.1:1/\nfetch-retries=0\n")
    project = tmp_path / "project"
    project.mkdir()
    variables = {"HOME": str(tmp_path / "home"), "npm_config_prefix": str(tmp_path / "machine")}
    with pytest.raises(AssertionError, match=r"request to http://127\.0\.0\.1:1/constructs failed"):
        npm_install(project, "constructs@10.5.1", **variables)


@pytest.fixture
def layer_copy(tmp_path: Path, layer_zip: bytes) -> Path:
    """layer/ of a clone in which `make layer` was run."""
    for folder in (EXAMPLES, MODULES):
        shutil.copytree(folder, tmp_path / "layer" / folder.name)
    (tmp_path / "layer/dist").mkdir()
    (tmp_path / "layer/dist" / ZIP.name).write_bytes(layer_zip)
    return tmp_path / "layer"


def assert_attached(template: Mapping[str, Any]) -> None:
    """Does an expanded template give functions layer, wrapper and settings, and their roles two rights and no more?"""
    resources = template["Resources"]
    functions = [each["Properties"] for each in resources.values() if each["Type"] == "AWS::Lambda::Function"]
    assert functions
    for properties in functions:
        (layer,) = properties["Layers"]
        published = [name for name, each in resources.items() if each["Type"] == "AWS::Lambda::LayerVersion"]
        assert ":layer:sumo-internal-extension:" in json.dumps(layer) or layer == {"Ref": published[0]}
        assert_settings(properties["Environment"]["Variables"])
    assert_rights(resources)
    assert_bucket(*[each for each in resources.values() if each["Type"] == "AWS::S3::Bucket" and is_kept(each)])


def is_kept(resource: Mapping[str, Any]) -> bool:
    return resource.get("DeletionPolicy") == "Retain"


def assert_settings(variables: Mapping[str, Any]) -> None:
    """Complete and without contradiction, as the extension reads them."""
    values = {name: value if isinstance(value, str) else "reference" for name, value in variables.items()}
    assert values.pop("AWS_LAMBDA_EXEC_WRAPPER") == "/opt/sumo_wrapper"
    if values["SUMO_HTTP_ENDPOINT"] == "reference":
        values["SUMO_HTTP_ENDPOINT"] = SECRET
    if values["SUMO_S3_BUCKET_OWNER"] == "reference":
        values["SUMO_S3_BUCKET_OWNER"] = "123456789012"
    read, problems = config.read(values)
    assert problems == []
    assert read.endpoint == SECRET and read.has_failover
    assert len(values) == 5, "nothing else"


def assert_rights(resources: Mapping[str, Any]) -> None:
    """To read one secret, and to put objects below the functions' path, into a bucket of the account's own."""
    found: dict[str, str] = {}
    conditions = []
    for resource in resources.values():
        properties = resource["Properties"]
        if not resource["Type"].startswith("AWS::IAM::"):
            continue
        documents = [
            each["PolicyDocument"] for each in [properties, *properties.get("Policies", [])] if "PolicyDocument" in each
        ]
        for statement in (each for document in documents for each in document["Statement"]):
            actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
            if actions[0] == "s3:PutObject":
                conditions.append(statement["Condition"])
            if not actions[0].startswith("logs:"):
                found |= {action: json.dumps(statement["Resource"]) for action in actions}
    assert set(found) == {"secretsmanager:GetSecretValue", "s3:PutObject"}
    assert "*" not in found["secretsmanager:GetSecretValue"]
    assert re.search(rf"/{s3.PREFIX}/\*/.+/\*", found["s3:PutObject"])
    assert conditions == [{"StringEquals": {"aws:ResourceAccount": {"Ref": "AWS::AccountId"}}}] * len(conditions)


def assert_bucket(bucket: Mapping[str, Any]) -> None:
    """Closed to the public, and emptied by itself."""
    properties = bucket["Properties"]
    assert set(properties["PublicAccessBlockConfiguration"].values()) == {True}
    assert properties["LifecycleConfiguration"]["Rules"][0]["ExpirationInDays"] == 30


def assert_one_to_set(template: Mapping[str, Any]) -> None:
    unset = [name for name, parameter in template["Parameters"].items() if "Default" not in parameter]
    assert [name.lower() for name in unset] == [PARAMETER]


@fetches_a_tool
@pytest.mark.parametrize("example", ["sam", "durable", "cloudformation", "nested-stack"])
def test_cfn_lint_finds_nothing(example: str) -> None:
    """SAM's own properties included; the examples have one parameter without a default."""
    template = EXAMPLES / example / "template.yaml"
    lint(template)
    assert_one_to_set(load(template))


def lint(template: Path) -> None:
    ended = python_tool(CFN_LINT, str(package(CFN_LINT, is_complete=True) / "bin/cfn-lint"), str(template))
    assert (ended.returncode, ended.stdout) == (0, ""), ended.stdout + ended.stderr


@fetches_a_tool
def test_nested_stack(layer_copy: Path) -> None:
    """The stack has layer, bucket and rights; the function of the example takes its outputs, which there are."""
    template = layer_copy / "modules/cloudformation/sumo-logic.yaml"
    lint(template)
    nested, outer = load(template), load(layer_copy / "examples/nested-stack/template.yaml")
    assert_rights(nested["Resources"])
    assert_bucket(nested["Resources"]["Failover"])
    assert (template.parent / nested["Resources"]["Layer"]["Properties"]["Content"]).exists()
    stack, function = outer["Resources"]["SumoLogic"]["Properties"], outer["Resources"]["Orders"]["Properties"]
    assert (layer_copy / "examples/nested-stack" / stack["TemplateURL"]).resolve() == template
    assert stack["Parameters"].keys() == nested["Parameters"].keys()
    assert stack["Parameters"]["FunctionName"] == function["FunctionName"]
    variables = function["Environment"]["Variables"]
    assert_settings(variables)
    asked = re.findall(r"SumoLogic\.Outputs\.(\w+)", json.dumps([function["Layers"], function["Policies"], variables]))
    assert set(asked) == nested["Outputs"].keys()


TRANSLATE = """
import json, sys
from samtranslator.public.translator import ManagedPolicyLoader
from samtranslator.translator.transform import transform
template = json.load(sys.stdin)
template["Resources"]["Orders"]["Properties"]["CodeUri"] = "s3://bucket/key"
print(json.dumps(transform(template, {}, ManagedPolicyLoader(None))))
"""


def translated(example: str, tmp_path: Path) -> dict[str, Any]:
    """What the SAM translator makes of a template."""
    source = tmp_path / "template.json"
    source.write_text(json.dumps(load(EXAMPLES / example / "template.yaml")))
    script = TRANSLATE.replace("sys.stdin", f"open({str(source)!r})")
    ended = python_tool(SAM, "-c", script, AWS_DEFAULT_REGION="eu-west-1")
    assert ended.returncode == 0, ended.stderr
    template: dict[str, Any] = json.loads(ended.stdout)
    return template


@fetches_a_tool
def test_sam(tmp_path: Path) -> None:
    """Layer, settings and rights are in what is deployed."""
    assert_attached(translated("sam", tmp_path))


@fetches_a_tool
def test_durable(tmp_path: Path) -> None:
    """So they are with a durable function; its role may keep checkpoints, and what is invoked is a version.

    The function itself is run in tests/test_durable_path.py.
    """
    template = translated("durable", tmp_path)
    assert_attached(template)
    resources = template["Resources"]
    assert resources["Orders"]["Properties"]["DurableConfig"]["ExecutionTimeout"] == 86_400
    policies = json.dumps(resources["OrdersRole"]["Properties"]["ManagedPolicyArns"])
    assert policies.count("AWSLambdaBasicDurableExecutionRolePolicy") == 1
    alias = resources[template["Outputs"]["Orders"]["Value"]["Ref"]]["Properties"]["FunctionVersion"]
    assert resources[alias["Fn::GetAtt"][0]]["Type"] == "AWS::Lambda::Version"


def test_cloudformation() -> None:
    """Each function of the loop gets the same; the policy is one, for those and for roles elsewhere."""
    template = load(EXAMPLES / "cloudformation/template.yaml")
    resources = template["Resources"]
    variable, names, body = resources.pop("Fn::ForEach::EachFunction")
    for name in names:
        resources |= json.loads(json.dumps(body).replace(f"${{{variable}}}", name))
    assert set(names) == set(template["Mappings"]["Functions"])
    assert_attached(template)
    for name in names:
        assert {"Ref": "SumoLogicPolicy"} in resources[f"{name}Role"]["Properties"]["ManagedPolicyArns"]


@needs_node
@fetches_a_tool
def test_cdk(layer_copy: Path, tmp_path: Path) -> None:
    """`cdk synth` without its command line: running the app writes the templates, and the layer's zip as an asset."""
    ended = python_tool(
        CDK,
        str(layer_copy / "examples/cdk/app.py"),
        CDK_OUTDIR=str(tmp_path / "out"),
        CDK_CONTEXT_JSON=json.dumps({"sumoEndpointSecretArn": SECRET}),
        HOME=str(package(CDK, is_complete=True)),  # where it unpacks its other half, once
    )
    assert ended.returncode == 0, ended.stderr
    assert_synthesized(tmp_path / "out", layer_copy)
    assert shlex.split(json.loads((EXAMPLES / "cdk/cdk.json").read_text())["app"])[1:] == ["app.py"]


def assert_synthesized(out: Path, layer_copy: Path) -> None:
    assert_attached(json.loads((out / "Orders.template.json").read_text()))
    assert (layer_copy / "dist" / ZIP.name).read_bytes() in [file.read_bytes() for file in out.glob("asset.*.zip")]


@needs_node
@fetches_a_tool
def test_cdk_in_typescript(layer_copy: Path, tmp_path: Path) -> None:
    """Compiled with all of the compiler's strictness, and run: the same template as Python's."""
    modules = node_packages(*CDK_TYPESCRIPT) / "node_modules"
    (tmp_path / "node_modules").symlink_to(modules)
    options = ["--strict", "--noUnusedLocals", "--noUnusedParameters", "--target", "es2022", "--module", "commonjs"]
    compiler = [
        str(modules / ".bin/tsc"),
        *options,
        "--skipLibCheck",
        str(layer_copy / "examples/cdk-typescript/app.ts"),
    ]
    compiled = subprocess.run(compiler, cwd=tmp_path, capture_output=True, text=True)
    assert compiled.returncode == 0, compiled.stdout
    environ = {
        "PATH": os.environ["PATH"],
        "CDK_OUTDIR": str(tmp_path / "out"),
        "CDK_CONTEXT_JSON": json.dumps({"sumoEndpointSecretArn": SECRET}),
    }
    app = layer_copy / "examples/cdk-typescript/app.js"
    ran = subprocess.run(["node", str(app)], cwd=tmp_path, env=environ, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert_synthesized(tmp_path / "out", layer_copy)


PULUMI_TEST = """
import json, runpy, sys
import pulumi

class Mocks(pulumi.runtime.Mocks):
    def new_resource(self, args):
        made.append((args.typ, dict(args.inputs)))
        known = {"arn": "arn:aws:x:::" + args.name, "bucket": args.name, "name": args.name}
        return args.name, {**args.inputs, **known}
    def call(self, args):
        return {"accountId": "123456789012", "account_id": "123456789012", "region": "eu-west-1"}

made = []
pulumi.runtime.set_mocks(Mocks(), project="orders", stack="test")
pulumi.runtime.set_all_config({"orders:sumoEndpointSecretArn": sys.argv[2]})

@pulumi.runtime.test
def run():
    runpy.run_path(sys.argv[1], run_name="__main__")

run()
print(json.dumps([(kind, {name: value for name, value in given.items() if name != "code"}) for kind, given in made]))
"""


@fetches_a_tool
def test_pulumi(layer_copy: Path) -> None:
    """The program in Pulumi's own test mode, with the provider's real types: layer, settings, rights, bucket."""
    program = layer_copy / "examples/pulumi/__main__.py"
    ended = python_tool(PULUMI, "-c", PULUMI_TEST, str(program), SECRET)
    assert ended.returncode == 0, ended.stderr
    made: dict[str, dict[str, Any]] = dict(json.loads(ended.stdout.splitlines()[-1]))
    function = made["aws:lambda/function:Function"]
    assert_settings(function["environment"]["variables"])
    assert function["layers"] == ["arn:aws:x:::sumo-layer"]
    assert made["aws:lambda/layerVersion:LayerVersion"]["layerName"] == "sumo-internal-extension"
    [secret, put] = json.loads(made["aws:iam/rolePolicy:RolePolicy"]["policy"])["Statement"]
    assert (secret["Action"], secret["Resource"]) == ("secretsmanager:GetSecretValue", SECRET)
    assert put["Resource"] == [f"arn:aws:x:::sumo-failover/{s3.PREFIX}/*/orders/*"]
    assert put["Condition"] == {"StringEquals": {"aws:ResourceAccount": "123456789012"}}
    assert made["aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock"]["restrictPublicBuckets"] is True


@needs_node
@fetches_a_tool
@pytest.mark.parametrize("tool", [OSLS, SERVERLESS])
def test_serverless(tmp_path: Path, tool: str) -> None:
    """Its package step, with unknown keys as errors and no warning; the zip has the handler, and not the settings."""
    service = tmp_path / "service"
    shutil.copytree(EXAMPLES / "serverless", service)  # links become files
    settings = service / "serverless.yml"
    settings.write_text(settings.read_text() + "\nconfigValidationMode: error\n")
    out = tmp_path / "out"
    arguments = ["package", f"--param=sumoEndpointSecretArn={SECRET}", "--package", str(out)]
    ended = node_tool(tool, "serverless", *arguments, cwd=service)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert re.findall(r"(?i).*(?:warning|deprecat).*", ended.stdout + ended.stderr) == []
    assert_attached(json.loads((out / "cloudformation-template-update-stack.json").read_text()))
    listed = subprocess.run([sys.executable, "-m", "zipfile", "-l", out / "orders.zip"], capture_output=True, text=True)
    assert [line.split()[0] for line in listed.stdout.splitlines()[1:]] == ["app.py"]


TERRAFORM = (EXAMPLES / "terraform", MODULES / "terraform")


@pytest.mark.skipif(shutil.which("terraform") is None, reason="there is no terraform")
def test_terraform_reads_it(tmp_path: Path) -> None:
    """The syntax, and the style."""
    ended = subprocess.run(
        ["terraform", "fmt", "-check", "-diff", *map(str, TERRAFORM)],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


class ProviderSchema:
    """The arguments that Terraform's AWS provider takes, as its bindings for other languages describe them."""

    def __init__(self) -> None:
        (archive,) = package(AWS_PROVIDER).glob("*/_jsii/*.tgz")
        with tarfile.open(archive) as content:
            description = content.extractfile("package/.jsii")
            assert description is not None
            self._text = description.read().decode()  # 130 MB, of which a dozen types are read

    def check(self, kind: str, block: Mapping[str, Any]) -> None:
        """Are all arguments of a block known, and none that is required left out?"""
        given = {name: value for name, value in block.items() if name not in ("__is_block__", "count")}
        properties = {_snake(each["name"]): each for each in self._type(kind)["properties"]}
        assert set(given) <= set(properties), kind
        assert {name for name, each in properties.items() if not each.get("optional")} <= set(given), kind
        for name, value in given.items():
            if isinstance(value, list) and isinstance(value[0], dict):
                kinds = re.findall(r'"fqn": "@cdktf/provider-aws\.([^"]+)"', json.dumps(properties[name]["type"]))
                self.check(kinds[0], value[0])

    def _type(self, kind: str) -> dict[str, Any]:
        key = f'"@cdktf/provider-aws.{kind}": '
        found: dict[str, Any] = json.JSONDecoder().raw_decode(self._text, self._text.index(key) + len(key))[0]
        return found


def _snake(name: str) -> str:
    return re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", name)


def _kind(resource: str, prefix: str = "") -> str:
    """``aws_s3_bucket`` is ``s3Bucket.S3BucketConfig`` there."""
    words = prefix + resource.removeprefix("aws").title().replace("_", "")
    return f"{words[0].lower()}{words[1:]}.{words}Config"


@fetches_a_tool
def test_terraforms_provider_knows_every_argument() -> None:
    """What `terraform validate` would say first: an argument that is misspelt, or missing."""
    script = "import hcl2, json, sys; print(json.dumps(hcl2.load(open(sys.argv[1]))).replace('\\\\\"', ''))"
    schema, checked = ProviderSchema(), 0
    for folder in TERRAFORM:
        ended = python_tool(HCL, "-c", script, str(folder / "main.tf"))
        assert ended.returncode == 0, ended.stderr
        content = json.loads(ended.stdout)
        for prefix, blocks in (("", content["resource"]), ("DataAws", content["data"])):
            for resource, block in ((resource, block) for each in blocks for resource, block in each.items()):
                if resource.startswith("aws_"):
                    schema.check(_kind(resource, prefix), next(iter(block.values())))
                    checked += 1
    assert checked == 12


def test_terraform_gives_what_the_others_give() -> None:
    """Without its provider nothing expands it: the same settings, rights and prefix stand in the text.

    And the example gives the module what it asks for, and takes what it gives.
    """
    example, module = ((folder / "main.tf").read_text() for folder in TERRAFORM)
    variables = dict(re.findall(r"^    (\w+) += (?:\"(.*)\"|.*)$", module, re.MULTILINE))
    block = {name: value or "reference" for name, value in variables.items() if name.isupper()}
    assert block.pop("SUMO_FLUSH") == "reference"
    assert_settings(block)
    assert re.findall(r'actions +?= \["((?:s3|secretsmanager):\w+)"\]', module) == [
        "secretsmanager:GetSecretValue",
        "s3:PutObject",
    ]
    assert f"/{s3.PREFIX}/*/${{name}}/*" in module and '"aws:ResourceAccount"' in module
    assert [name.replace("_", "") for name in re.findall(r'^variable "(\w+)"', example, re.MULTILINE)] == [PARAMETER]
    given = re.search(r'module "sumo" {(.*?)}\n', example, re.DOTALL)
    assert given is not None
    names = set(re.findall(r"^  (\w+) +=", given[1], re.MULTILINE)) - {"source"}
    declared = re.findall(r'^variable "(\w+)" {\n(.*?)^}', module, re.MULTILINE | re.DOTALL)
    assert {name for name, body in declared if "default" not in body} <= names <= {name for name, _ in declared}
    outputs = set(re.findall(r'^output "(\w+)"', module, re.MULTILINE))
    assert set(re.findall(r"module\.sumo\.(\w+)", example)) == outputs


def test_image(layer_zip: bytes, tmp_path: Path) -> None:
    """The Dockerfile unpacks the layer as Lambda does, run bits included, and starts what is there."""
    lines = (EXAMPLES / "image/Dockerfile").read_text().replace("\\\n", "").splitlines()
    steps = [line.partition(" ")[::2] for line in lines if line and not line.startswith("#")]
    copied = next(value.split() for step, value in steps if step == "COPY")
    assert ROOT / copied[0] == ZIP
    (tmp_path / "layer.zip").write_bytes(layer_zip)
    unpack = next(value for step, value in steps if step == "RUN")
    opt = tmp_path / "opt"
    command = unpack.replace(copied[1], shlex.quote(str(tmp_path / "layer.zip"))).replace("/opt", shlex.quote(str(opt)))
    subprocess.run(command.replace("python ", f"{shlex.quote(sys.executable)} "), shell=True, check=True)
    # Not the shared one, into which an interpreter that runs as root may have written bytecode.
    unpack_layer(layer_zip, tmp_path / "once more")
    assert contents(opt) == contents(tmp_path / "once more")
    entry = json.loads(next(value for step, value in steps if step == "ENTRYPOINT"))
    assert entry == ["/opt/sumo_wrapper", "python", "-m", "awslambdaric"]
    assert (ROOT / next(value for step, value in steps if step == "COPY" and "app.py" in value).split()[0]).exists()


def contents(folder: Path) -> dict[str, tuple[bool, bytes]]:
    """Run bit and content of every file, by path."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    return {
        str(file.relative_to(folder)): (bool(file.stat().st_mode & stat.S_IXUSR), file.read_bytes()) for file in files
    }


def test_every_example_is_in_the_readme() -> None:
    """And nothing else is."""
    readme = (EXAMPLES / "README.md").read_text()
    named = set(re.findall(r"\]\(([\w-]+)/[\w.]*\)", readme))
    assert named == {path.name for path in EXAMPLES.iterdir() if path.is_dir()}
    modules = set(re.findall(r"\]\(\.\./modules/(\w+)/", readme))
    assert modules == {path.name for path in MODULES.iterdir() if path.is_dir()}
