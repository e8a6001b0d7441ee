"""Links to a result that lies elsewhere."""

(OUT / "kept.json").write_text(json.dumps({"run": os.environ["AUTORESEARCH_RUN"], "metrics": {"loss": 0.1}}))
(OUT / "result.json").symlink_to("kept.json")
