"""Each way to send a picture, and what comes back."""

import asyncio
import base64
import http.client
import json

import numpy as np
import pytest
from onnx_bundle import COLOURS, expected, make_bundle, picture
from running import multipart

from hornbeam.deployment.predicting.predictor import Predictor

RED, GREEN, GREY = (210, 40, 30), (20, 220, 60), (128, 128, 128)


def base64_of(data):
    return base64.b64encode(data).decode()


def as_json(server, content, query=""):
    return server.ask(
        "POST", f"/predict{query}", json.dumps(content), {"Content-Type": "application/json"}
    )


def probabilities(answer, task="label"):
    by_name = {each["class"]: each["probability"] for each in answer["tasks"][task]["top"]}
    return [by_name[name] for name in COLOURS]


@pytest.mark.parametrize(
    "kind", ["image/png", "image/jpeg", "application/octet-stream", "IMAGE/PNG"]
)
def test_the_bytes_of_a_picture_are_answered_as_the_formula_says(colours, kind):
    status, headers, said = colours.predict(picture(*RED), kind)
    assert status == 200, said
    assert headers["content-type"] == "application/json"
    (answer,) = said["answers"]
    np.testing.assert_allclose(probabilities(answer), expected(*RED), atol=2e-6)
    assert [each["class"] for each in answer["tasks"]["label"]["top"]] == ["red", "green", "blue"]
    assert answer["tasks"]["label"]["sure"] is True
    assert answer["unknown"] is False
    assert answer["unknown_score"] == pytest.approx(1 - 180 / 255, abs=1e-5)
    assert answer["error"] is None
    assert answer["file"] is None


def test_doubt_is_told(colours):
    (answer,) = colours.predict(picture(*GREY))[2]["answers"]
    assert answer["tasks"]["label"]["sure"] is False
    assert answer["unknown"] is True


def test_the_server_answers_what_the_predictor_answers(serving, tmp_path):
    server = serving()
    rng = np.random.default_rng(0)
    shots = [picture(*map(int, rng.integers(0, 256, 3)), format="JPEG") for _ in range(8)]
    alone = Predictor(tmp_path / "bundle").predict(shots)
    body, kind = multipart(*((f"{n}.jpg", shot) for n, shot in enumerate(shots)))
    said = server.predict(body, kind)[2]["answers"]
    for one, other in zip(alone, said, strict=True):
        np.testing.assert_allclose(probabilities(other), one.probabilities["label"], atol=1e-6)
        assert other["unknown_score"] == pytest.approx(one.unknown_score, abs=1e-6)


def test_a_form_of_files_is_answered_in_its_order_with_names(colours):
    body, kind = multipart(("a.png", picture(*RED)), ("ü.png", picture(*GREEN)))
    status, _, said = colours.predict(body, kind)
    assert status == 200
    assert [a["file"] for a in said["answers"]] == ["a.png", "ü.png"]
    assert [a["tasks"]["label"]["top"][0]["class"] for a in said["answers"]] == ["red", "green"]


def test_base64_in_json_is_answered_alone_and_in_lists(colours):
    one = base64_of(picture(*RED))
    status, _, said = as_json(colours, {"image": one})
    assert status == 200
    assert len(said["answers"]) == 1
    content = {"images": [{"image": one}, {"image": f"data:image/png;base64,{one}"}]}
    assert as_json(colours, content)[2]["answers"] == said["answers"] * 2


@pytest.mark.parametrize(("top", "named"), [(1, 1), (2, 2), (1000, 3)])
def test_top_says_how_many_classes_are_named(colours, top, named):
    _, _, said = colours.predict(picture(*RED), query=f"?top={top}")
    assert len(said["answers"][0]["tasks"]["label"]["top"]) == named


@pytest.mark.parametrize("top", ["0", "-1", "many", "1.5", ""])
def test_a_wrong_top_is_one_sentence(colours, top):
    status, _, said = colours.predict(picture(*RED), query=f"?top={top}")
    assert status == 422
    assert said["error"].startswith("top: ")


def test_one_bad_picture_is_422_and_among_others_an_error_in_its_place(colours):
    status, _, said = colours.predict(b"<html>")
    assert status == 422
    assert "not a picture" in said["error"]
    cut = picture(*RED, size=(200, 200))[:-60]
    body, kind = multipart(
        ("a", picture(*RED)), ("b", b"<html>"), ("c", cut), ("d", picture(*GREEN))
    )
    status, _, said = colours.predict(body, kind)
    assert status == 200
    errors = [answer["error"] for answer in said["answers"]]
    assert errors[0] is None
    assert errors[3] is None
    assert "not a picture" in errors[1]
    assert "truncated" in errors[2]
    assert [answer["tasks"] == {} for answer in said["answers"]] == [False, True, True, False]


def test_a_list_of_one_in_json_is_a_list(colours):
    status, _, said = as_json(colours, {"images": [{"image": "!!"}]})
    assert status == 200
    assert "base64" in said["answers"][0]["error"]
    status, _, said = as_json(colours, {"image": "!!"})
    assert status == 422


@pytest.mark.parametrize(
    ("kind", "body", "words"),
    [
        ("application/json", b"", "empty"),
        ("application/json", b"{", "not JSON"),
        ("application/json", b"[" * 1000, "not JSON"),
        ("application/json", b"[" * 100_000, "more values"),
        ("application/json", b"\xff\xfe\x00", "not JSON"),
        ("application/json", b"[]", "valid dictionary"),
        ("application/json", b"null", "valid dictionary"),
        ("application/json", b"{}", "image"),
        ("application/json", b'{"image": 5}', "image"),
        ("application/json", b'{"image": ""}', "image"),
        ("application/json", b'{"images": []}', "images"),
        ("application/json", b'{"images": [{"image": "YQ==", "x": 1}]}', "images.0.x"),
        ("application/json", b'{"image": "YQ==", "features": {"age": 1}}', "this model takes none"),
        ("application/json", b'{"image": "YQ==", "features": {"age": 1e999}}', "age"),
        ("application/json", b'{"image": "YQ==", "features": {"age": 1' + b"0" * 400 + b"}}", "age"),
        ("application/json", b'{"image": "YQ==", "features": {"age": NaN}}', "age"),
        ("multipart/form-data; boundary=x", b"--x--\r\n", "no picture"),
        ("multipart/form-data; boundary=x", b"nothing", "form"),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\n\r\n", "form"),
        ("multipart/form-data", b"--x--", "boundary"),
        ("image/png", b"", "empty"),
    ],
)  # fmt: skip
def test_a_wrong_body_is_422_and_one_sentence(colours, kind, body, words):
    status, _, said = colours.predict(body, kind)
    assert status == 422, said
    assert words in said["error"]
    assert len(said["error"]) < 400


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "x", "", None])
def test_another_media_type_is_415(colours, kind):
    headers = {} if kind is None else {"Content-Type": kind}
    status, _, said = colours.ask("POST", "/predict", picture(*RED), headers)
    assert status == 415
    assert "multipart/form-data" in said["error"]


def test_a_compressed_body_is_415(colours):
    assert colours.predict(b"x", **{"Content-Encoding": "gzip"})[0] == 415


def test_numbers_beside_the_picture_are_taken_in_every_way_that_has_room(serving):
    server = serving(features=("age", "weight"))
    grey, far = base64_of(picture(*GREY)), expected(*GREY, shift=3.0)
    numbers = {"weight": 70, "age": 3.0}
    _, _, said = as_json(server, {"image": grey, "features": numbers})
    np.testing.assert_allclose(probabilities(said["answers"][0]), far, atol=2e-6)
    form = multipart(("a", picture(*GREY)), ("b", picture(*GREY)),
                     features=json.dumps([{"age": 0, "weight": 0}, numbers]))  # fmt: skip
    _, _, said = server.predict(*form)
    np.testing.assert_allclose(probabilities(said["answers"][0]), expected(*GREY), atol=2e-6)
    np.testing.assert_allclose(probabilities(said["answers"][1]), far, atol=2e-6)
    for features, words in (
        ({"age": 1}, "'weight' is missing"), ({"age": 1, "weight": 2, "x": 3}, "no feature 'x'"),
        ({"age": "old", "weight": 1}, "features.age"), ({"age": 1e39, "weight": 1}, "not within"),
        (None, "'age' is missing"),
    ):  # fmt: skip
        status, _, said = as_json(server, {"image": grey, "features": features})
        assert status == 422
        assert words in said["error"]
    status, _, said = server.predict(picture(*GREY))
    assert status == 422
    assert "age, weight" in said["error"]
    form = multipart(("a", picture(*GREY)), features=json.dumps([numbers, numbers]))
    assert "numbers for 2 pictures" in server.predict(*form)[2]["error"]
    assert server.ask("GET", "/model")[2]["features"] == ["age", "weight"]


def test_hostile_names_of_classes_and_files_come_back_as_they_are(serving):
    names = ("<script>alert(1)</script>", 'a"\n\\', "\u202e\u2066\U0001f600")
    server = serving(classes=names, name="<b>\u202e")
    body, kind = multipart(('"><img src=x>.png'.replace('"', "%22"), picture(*GREEN)))
    status, _, said = server.predict(body, kind)
    assert status == 200
    assert said["answers"][0]["tasks"]["label"]["top"][0]["class"] == names[1]
    assert {each["class"] for each in said["answers"][0]["tasks"]["label"]["top"]} == set(names)
    assert server.ask("GET", "/model")[2]["tasks"][0]["classes"] == list(names)
    assert server.ask("GET", "/metrics")[0] == 200


def test_the_state_of_the_server_is_told(colours):
    assert colours.ask("GET", "/healthz")[2] == {"status": "alive"}
    status, _, ready = colours.ask("GET", "/readyz")
    assert status == 200
    assert ready["status"] == "ready"
    assert ready["waiting"] == 0
    model = colours.ask("GET", "/model")[2]
    assert model["name"] == "colours"
    assert model["image_size"] == [16, 16, 3]
    assert model["tasks"] == [{"name": "label", "classes": list(COLOURS), "multi_label": False}]
    assert model["abstain"]["label"]["below"] == 0.6
    assert ready["bundle"] == model["bundle"]
    assert model["bundle"].startswith("colours@")


def test_requests_pictures_and_doubts_are_counted(serving):
    server = serving()
    for shot in (RED, GREEN, GREY, GREY):
        server.predict(picture(*shot))
    server.predict(b"nothing")
    server.ask("GET", "/no/such/place")
    assert server.metric('hornbeam_requests_total{path="/predict",status="200"}') == 4
    assert server.metric('hornbeam_requests_total{path="/predict",status="422"}') == 1
    assert server.metric('hornbeam_requests_total{path="other",status="404"}') == 1
    assert server.metric('hornbeam_pictures_total{outcome="answered"}') == 4
    assert server.metric('hornbeam_pictures_total{outcome="unreadable"}') == 1
    assert server.metric('hornbeam_abstained_total{task="label"}') == 2
    assert server.metric("hornbeam_unknown_total") == 2
    assert server.metric("hornbeam_batch_pictures_sum") == 4
    assert server.metric("hornbeam_request_seconds_count") == 5
    assert server.metric("hornbeam_waiting_pictures") == 0
    assert server.metric("hornbeam_held_bytes") == 0
    text = server.ask("GET", "/metrics")[2].decode()
    assert 'hornbeam_bundle_info{created="2026-11-21T12:00:00+00:00",format="onnx"' in text
    kind = server.ask("GET", "/metrics")[1]["content-type"]
    assert kind.startswith("text/plain; version=0.0.4")


def test_what_there_is_not_is_404_and_405_with_the_methods(colours):
    assert colours.ask("GET", "/docs")[0] == 404
    status, headers, said = colours.ask("GET", "/predict")
    assert status == 405
    assert headers["allow"] == "POST"
    assert set(said) == {"error"}


def test_every_answer_has_the_headers_of_safety(colours):
    for method, path in (("GET", "/healthz"), ("GET", "/"), ("POST", "/predict"), ("GET", "/x")):
        headers = colours.ask(method, path)[1]
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in headers
        assert "server" not in headers


def test_requests_follow_each_other_on_one_connection_and_in_advance(colours):
    connection = http.client.HTTPConnection("127.0.0.1", colours.port, timeout=60)
    for colour in (RED, GREEN, RED):
        connection.request("POST", "/predict", picture(*colour), {"Content-Type": "image/png"})
        said = json.loads(connection.getresponse().read())
        first = said["answers"][0]["tasks"]["label"]["top"][0]["class"]
        assert first == ("red" if colour == RED else "green")
    connection.close()


def test_each_request_is_a_line_of_the_log_without_its_query(serving):
    server = serving()
    server.predict(picture(*RED), query="?top=1&secret=x")
    line = server.wait_for("POST /predict")[0]
    assert line
    text = next(line for line in server.lines if "POST" in line)
    assert " 127.0.0.1 POST /predict 200 1 picture " in text
    assert "secret" not in text
    quiet = serving("--no-access-log", bundle=server.process.args[4])
    quiet.predict(picture(*RED))
    assert not any("POST" in line for line in quiet.lines)


def test_a_failing_model_is_500_and_counted_so(serving):
    server = serving(odd="fail")
    assert server.predict(picture(*RED))[0] == 200
    status, _, said = server.predict(picture(0, 200, 0))
    assert status == 500
    assert "the model failed" in said["error"]
    status, _, said = as_json(
        server, {"images": [{"image": base64_of(picture(0, 200, 0))}, {"image": "a"}]}
    )
    assert status == 500
    assert "the model failed" in said["error"]
    assert server.metric('hornbeam_pictures_total{outcome="failed"}') == 2
    assert server.metric('hornbeam_pictures_total{outcome="unreadable"}') == 1
    assert server.metric('hornbeam_pictures_total{outcome="answered"}') == 1
    assert server.stop() == 0  # all that it wrote has been read
    assert any("Traceback" in line for line in server.errors)
    server.errors.clear()


def test_an_answer_that_is_no_number_is_none(serving):
    server = serving(odd="nan")
    status, _, said = server.predict(picture(0, 200, 0))
    assert status == 500
    assert "no number" in said["error"]
    form = multipart(("a", picture(0, 200, 0)), ("b", picture(*RED)))
    status, _, said = server.predict(*form)
    assert status == 200
    assert "no number" in said["answers"][0]["error"]
    assert said["answers"][0]["tasks"] == {}
    assert said["answers"][1]["tasks"]["label"]["top"][0]["class"] == "red"
    assert server.metric('hornbeam_pictures_total{outcome="failed"}') == 2
    assert server.metric('hornbeam_pictures_total{outcome="answered"}') == 1
    assert server.metric('hornbeam_abstained_total{task="label"}') == 0


@pytest.mark.parametrize("text", ["é", "\U0001f600", "YWJj\u00e9"])
def test_base64_that_is_not_ascii_is_422_without_a_line_in_the_log(colours, text):
    for content in ({"image": text}, {"images": [{"image": text}]}):
        body = json.dumps(content, ensure_ascii=False).encode()
        status, _, said = colours.predict(body, "application/json")
        sentence = said["error"] if status == 422 else said["answers"][0]["error"]
        assert "not base64" in sentence
    assert colours.errors == []


def test_names_of_numbers_may_be_of_any_language(serving):
    server = serving(features=("größe", "\U0001f600"))
    content = {"image": base64_of(picture(*GREY)), "features": {"größe": 3, "\U0001f600": 1}}
    body = json.dumps(content, ensure_ascii=False).encode()
    status, _, said = server.predict(body, "application/json")
    assert status == 200, said
    np.testing.assert_allclose(
        probabilities(said["answers"][0]), expected(*GREY, shift=3.0), atol=2e-6
    )


def test_of_several_labels_those_that_hold_are_told(serving):
    server = serving(multi_label=True)
    told = server.predict(picture(*RED), query="?top=1")[2]["answers"][0]["tasks"]["label"]
    assert told["labels"] == ["red"]
    told = server.predict(picture(*GREY))[2]["answers"][0]["tasks"]["label"]
    assert told["labels"] == []
    shapes = server.ask("GET", "/openapi.json")[2]["components"]["schemas"]
    assert "labels" in shapes["TaskAnswer"]["required"]


def test_of_one_class_no_labels_are_told(colours):
    told = colours.predict(picture(*RED))[2]["answers"][0]["tasks"]["label"]
    assert told["labels"] is None


def test_a_fault_of_the_server_is_told_in_json_too(tmp_path):
    from hornbeam.config import ServeOptions
    from hornbeam.deployment.server.app import Server
    from hornbeam.deployment.server.swapping import Shelf, open_bundle

    options = ServeOptions(bundle=make_bundle(tmp_path / "bundle"))

    sent = []

    async def run():
        server = Server(options, Shelf(options, 1, open_bundle(options, 1)), 1, None, lambda: 0)
        server.pipeline.end()
        server.readiness = None  # which cannot be called
        scope = {"type": "http", "method": "GET", "path": "/readyz", "raw_path": b"/readyz",
                 "query_string": b"", "headers": [], "state": {}}  # fmt: skip

        async def receive():
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message):
            sent.append(message)

        with pytest.raises(TypeError):  # which goes to the log
            await server.app(scope, receive, send)

    asyncio.run(run())
    assert sent[0]["status"] == 500
    assert "log" in json.loads(sent[1]["body"])["error"]
