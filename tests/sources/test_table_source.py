from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from daf_pipelines.errors import DataError, ParameterError
from daf_pipelines.parameters import DatasetParams
from daf_pipelines.sources.base import Finding, Row
from daf_pipelines.sources.table import Table
from ingested import build_manifest

Writer = Callable[..., Path]


def write(folder: Path, text: str, name: str = "images.csv") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def rows(root: Path, category: str | None = None) -> list[Row]:
    listing = Table().list_images(root, category or Table().default_category(root))
    assert listing.findings == []
    return listing.rows


def reason(root: Path) -> str:
    """What the only finding on the table says."""
    (finding,) = Table().list_images(root, Table().default_category(root)).findings
    assert (finding.severity, finding.check) == ("error", "table_row")
    return f"{finding.file}: {finding.finding}"


class TestColumns:
    def test_path_alone_is_enough(self, tmp_path: Path) -> None:
        write(tmp_path / "parts", "path\na.png\nlot/b.png\n")
        assert rows(tmp_path / "parts") == [
            Row("a.png", None, 0, "good", "parts"),
            Row("lot/b.png", None, 0, "good", "parts"),
        ]

    def test_all(self, tmp_path: Path) -> None:
        table = write(
            tmp_path,
            "operator,group,category,defect_type,split,mask_path,label,path\n"
            "Ann,lot1,bolt,,train,,0,a.png\n"
            "Ann,,bolt,dent,test,m/b.json,1,b.png\n"
            'Bob,lot2,nut,,,,0,"c, d.png"\n',
        )
        assert Table().categories(table) == ["bolt", "nut"]
        assert rows(table, "bolt") == [
            Row("a.png", "train", 0, "good", "bolt", None, "lot1"),
            Row("b.png", "test", 1, "dent", "bolt", "m/b.json"),
        ]
        assert rows(table, "nut") == [Row("c, d.png", None, 0, "good", "nut", None, "lot2")]

    @pytest.mark.parametrize(
        ("label", "expected"),
        [
            ("0", (0, "good")),
            ("0.0", (0, "good")),
            ("False", (0, "good")),
            ("OK", (0, "good")),
            ("normal", (0, "good")),
            (" Good ", (0, "good")),
            ("1", (1, "defective")),
            ("1.0", (1, "defective")),
            ("true", (1, "defective")),
            ("Scratch", (1, "Scratch")),
        ],
    )
    def test_labels(self, tmp_path: Path, label: str, expected: tuple[int, str]) -> None:
        (row,) = rows(write(tmp_path, f"path,label\na.png,{label}\n"))
        assert (row.label, row.defect_type) == expected

    def test_defect_type_goes_before_the_word_of_the_label(self, tmp_path: Path) -> None:
        text = "path,label,defect_type\na.png,NG,dent\nb.png,NG,\nc.png,ok,Good\n"
        found = [(row.label, row.defect_type) for row in rows(write(tmp_path, text))]
        assert found == [(1, "dent"), (1, "NG"), (0, "good")]

    @pytest.mark.parametrize(
        ("split", "expected"),
        [
            ("train", "train"),
            ("Validation", "calibration"),
            ("val", "calibration"),
            ("calibration", "calibration"),
            ("TEST", "test"),
            ("excluded", "excluded"),
            ("", None),
        ],
    )
    def test_splits(self, tmp_path: Path, split: str, expected: str | None) -> None:
        (row,) = rows(write(tmp_path, f"path,split\na.png,{split}\n"))
        assert row.split == expected

    def test_blank_label_is_left_to_the_mask_or_excluded(self, tmp_path: Path) -> None:
        text = "path,label,mask_path,split\na.png,,a_mask.png,\nb.png,,,excluded\n"
        assert rows(write(tmp_path, text, "lot7.csv")) == [
            Row("a.png", None, None, "defective", "lot7", "a_mask.png"),
            Row("b.png", "excluded", None, "defective", "lot7"),
        ]

    def test_words_that_look_missing_are_kept(self, tmp_path: Path) -> None:
        (row,) = rows(write(tmp_path, "path,label,category,group\na.png,NA,null,None\n"))
        assert (row.defect_type, row.category, row.group) == ("NA", "null", "None")

    def test_paths_are_listed_as_they_are(self, tmp_path: Path) -> None:
        text = "path,mask_path\n/data/a.png,../b.png\n./c.png,\n"
        found = [(row.path, row.mask_path) for row in rows(write(tmp_path, text))]
        assert found == [("/data/a.png", "../b.png"), ("c.png", None)]


class TestFiles:
    def test_parquet_is_as_csv(self, tmp_path: Path) -> None:
        frame = pd.DataFrame(
            {
                "path": ["a.png", "b.png", "c.png"],
                "label": [False, True, False],
                "group": [1, None, 3],
                "split": pd.Categorical(["train", "test", None]),
                "taken": pd.to_datetime(["2024-01-01"] * 3),
            }
        )
        frame["group"] = frame["group"].astype("Int64")
        frame.to_parquet(tmp_path / "images.parquet")
        assert rows(tmp_path) == [
            Row("a.png", "train", 0, "good", tmp_path.name, None, "1"),
            Row("b.png", "test", 1, "defective", tmp_path.name),
            Row("c.png", None, 0, "good", tmp_path.name, None, "3"),
        ]

    def test_csv_as_excel_writes_it(self, tmp_path: Path) -> None:
        text = '\ufeffpath,label,,\r\nTür.png,"ok",,\r\n\r\n'
        assert rows(write(tmp_path, text)) == [Row("Tür.png", None, 0, "good", tmp_path.name)]

    def test_recognised(self, tmp_path: Path) -> None:
        table = write(tmp_path / "one", "path\n")
        assert Table().recognises(table)
        assert Table().recognises(table.parent)
        assert Table().recognises(write(tmp_path / "other", "path\n", "lot7.CSV"))
        assert not Table().recognises(tmp_path / "other")
        assert not Table().recognises(tmp_path / "missing.csv")
        (table.parent / "images.parquet").touch()
        assert not Table().recognises(table.parent)

    @pytest.mark.parametrize(
        ("text", "found"),
        [
            ("", "expected the column path; found no columns"),
            ("file,label\na.png,0\n", "expected the column path; found file, label"),
            ("path;label\na.png;0\n", "expected the column path; found path;label"),
            ("path,label\na.png,0\nb.png,0,x\n", "row 2 has more fields"),
            ('path,label\n"a.png,0\n', "unexpected end of data"),
            ("path,label\n", "a table without rows"),
            ("path,Label\na.png,scratch\n", "column Label is unknown; did you mean label"),
            ("path,labels\na.png,scratch\n", "column labels is unknown; did you mean label"),
            ("path,class\na.png,scratch\n", "column class is unknown; did you mean label"),
            ("path,mask\na.png,m.png\n", "column mask is unknown; did you mean mask_path"),
        ],
    )
    def test_unreadable_csv(self, tmp_path: Path, text: str, found: str) -> None:
        write(tmp_path, text)
        with pytest.raises(DataError, match=rf"images\.csv: .*{found}"):
            Table().categories(tmp_path)

    @pytest.mark.parametrize("name", ["images.parquet", "images.csv"])
    def test_broken_file(self, tmp_path: Path, name: str) -> None:
        (tmp_path / name).write_bytes(b"\xff\xfe\x00broken")
        with pytest.raises(DataError, match=rf"{name}: not a readable table"):
            Table().categories(tmp_path)

    def test_no_table(self, tmp_path: Path) -> None:
        (tmp_path / "photos").mkdir()
        with pytest.raises(DataError, match=r"images\.csv or images\.parquet; found .*: photos"):
            Table().categories(tmp_path)

    def test_unknown_category(self, tmp_path: Path) -> None:
        write(tmp_path, "path,category\na.png,bolt\nb.png,nut\n")
        with pytest.raises(ParameterError, match=r"'blot'.*mean 'bolt'"):
            Table().list_images(tmp_path, "blot")


class TestWrongRows:
    @pytest.mark.parametrize(
        ("text", "found"),
        [
            ("path,label\na.png,2\n", "a.png: row 1 of images.csv: its label is 2"),
            ("path,label\na.png,-1\n", "its label is -1; expected 0, 1 or a word"),
            ("path,label\na.png,nan\n", "its label is nan"),
            ("path,label\na.png,\n", "its label is blank"),
            ("path,split\na.png,training\n", "its split is 'training'; known are train, "),
            ("path,label\n,0\n", "images.csv: row 1 of images.csv: its path is blank"),
            ("path,label\na.png,0\n./a.png,0\n", "a.png: row 2 of images.csv: its path is also"),
            ("path,defect_type\na.png,dent\n", "labelled as good, but its defect_type is 'dent'"),
            ("path,label,defect_type\na.png,1,OK\n", "its defect_type is 'OK', but it is not"),
        ],
    )
    def test_finding(self, tmp_path: Path, text: str, found: str) -> None:
        write(tmp_path, text)
        assert found in reason(tmp_path)

    def test_other_rows_are_listed(self, tmp_path: Path) -> None:
        write(tmp_path, "path,label\na.png,2\nb.png,0\nc.png,7\n")
        listing = Table().list_images(tmp_path, tmp_path.name)
        assert [row.path for row in listing.rows] == ["b.png"]
        assert [finding.file for finding in listing.findings] == ["a.png", "c.png"]
        assert all(isinstance(finding, Finding) for finding in listing.findings)


def test_manifest_of_a_table(tmp_path: Path, write_image: Writer, write_mask: Writer) -> None:
    text = "path,label,split,mask_path\n"
    for index in range(4):
        write_image(tmp_path / "parts" / f"{index}.png", index)
        text += f"{index}.png,ok,train,\n"
    write_image(tmp_path / "parts" / "bad.png", 9)
    write_mask(tmp_path / "parts" / "bad_mask.png")
    table = write(tmp_path / "parts", text + "bad.png,dent,test,bad_mask.png\n", "lot7.csv")
    manifest = build_manifest(DatasetParams(source="table", root=table), 0)
    assert set(manifest["category"]) == {"lot7"}
    assert dict(zip(manifest["path"], manifest["split"], strict=True))["bad.png"] == "test"
    assert manifest["mask_coverage"].max() == pytest.approx(30 / 480)
