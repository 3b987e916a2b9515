"""What ``deploy/`` has for containers, against the schemas of Compose and Kubernetes."""

import re
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from click.testing import CliRunner
from compose_spec import ComposeSpecification
from ppclas_serve.command import command

DEPLOY = Path(__file__).parents[1] / "deploy"
VERSION = kubernetes_validate.latest_version()


def documents(name):
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


def objects():
    for document in documents("kubernetes.yaml"):
        yield pytest.param(document, id=document["kind"])
    # KServe's own schema is not published as a package; its predictor is a pod's description.
    (service,) = documents("kserve.yaml")
    pod = {
        key: value
        for key, value in service["spec"]["predictor"].items()
        if key not in ("minReplicas", "maxReplicas")
    }
    about = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "predictor"}}
    yield pytest.param({**about, "spec": pod}, id="InferenceService")
    worker = documents("paddlejob.yaml")[0]["spec"]["paddleReplicaSpecs"]["Worker"]
    yield pytest.param({**about, "spec": worker["template"]["spec"]}, id="PaddleJob")


@pytest.mark.parametrize("document", [*objects()])
def test_kubernetes_takes_it(document):
    kubernetes_validate.validate(document, VERSION, strict=True)


def test_the_job_is_one_of_the_training_operator():
    """The fields of ``kubeflow.org_paddlejobs.yaml``, training operator v1.8, beside a pod's."""
    (job,) = documents("paddlejob.yaml")
    assert (job["apiVersion"], job["kind"]) == ("kubeflow.org/v1", "PaddleJob")
    assert job["spec"].keys() <= {"elasticPolicy", "paddleReplicaSpecs", "runPolicy"}
    assert job["spec"]["runPolicy"]["cleanPodPolicy"] in {"All", "Running", "None"}
    (worker,) = job["spec"]["paddleReplicaSpecs"].values()
    assert worker.keys() <= {"replicas", "restartPolicy", "template"}
    assert worker["restartPolicy"] in {"Always", "OnFailure", "Never", "ExitCode"}
    (container,) = worker["template"]["spec"]["containers"]
    assert container["name"] == "paddle"
    assert {"containerPort": 37777, "name": "master"} in container["ports"]


def training_lines():
    (job,) = documents("paddlejob.yaml")
    (container,) = job["spec"]["paddleReplicaSpecs"]["Worker"]["template"]["spec"]["containers"]
    yield container["args"][1:]
    (line,) = re.findall(
        r"^exec srun.* ppclas (train .*)$", (DEPLOY / "slurm.sh").read_text(), re.M
    )
    yield line.replace('"', "").split()


@pytest.mark.parametrize("line", [*training_lines()])
def test_the_training_line_in_it_is_one_that_ppclas_takes(line):
    from ppclas_cli.commands.train import command as train

    assert line[0] == "train"
    with train.make_context("train", line[1:], help_option_names=["-h", "--help"]) as context:
        assert context.params["resume"] == "auto"
        assert context.params["output"]


def test_a_misspelt_field_would_be_found():
    deployment = documents("kubernetes.yaml")[0]
    deployment["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, VERSION, strict=True)


def test_compose_takes_it():
    text = (DEPLOY / "compose.yaml").read_text()
    given = re.sub(r"\$\{(\w+):[-?][^}]*\}", r"\1", text)
    found = ComposeSpecification.model_validate(yaml.safe_load(given))
    assert list(found.services) == ["classifier"]


def arguments():
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    entry = re.search(r"ENTRYPOINT \[(.*)\]", dockerfile).group(1).replace('"', "").split(", ")
    assert entry[:2] == ["ppclas", "serve"]
    yield entry[2:]
    for name in ("kubernetes.yaml", "kserve.yaml"):
        spec = documents(name)[0]["spec"]
        pod = spec["template"]["spec"] if "template" in spec else spec["predictor"]
        yield [*entry[2:], *pod["containers"][0]["args"]]


@pytest.mark.parametrize("given", [*arguments()])
def test_the_command_line_in_it_is_one_that_ppclas_takes(given):
    with command.make_context("serve", list(given), help_option_names=["-h", "--help"]) as context:
        assert context.params["host"] == "0.0.0.0"
        assert context.params["models"] == ("/model",)


def test_a_wrong_option_would_be_found():
    assert CliRunner().invoke(command, ["/model", "--thread", "2"]).exit_code == 2


def test_probes_ask_for_what_the_server_has():
    text = "".join(path.read_text() for path in DEPLOY.iterdir())
    asked = set(re.findall(r"/v2/[\w/]+|/metrics", text))
    from ppclas_serve.http.openapi import description

    assert asked <= description(False)["paths"].keys()
