"""Writes what packaging/release/advisories.py found: README.txt, OpenVEX 0.2.0, and CSAF 2.0 as a skeleton that a publisher
completes with what they know (a score, a reference). The same findings give the same bytes."""

import json
import re


def write(folder, release, looked, findings):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.txt").write_text(for_people(release, looked, findings), encoding="utf-8")
    name = f"{release.name}-{release.version}"
    # OpenVEX has no form for "nothing was found".
    if findings:
        write_json(folder / f"{name}.openvex.json", openvex(release, looked, findings))
    document = csaf(release, looked, findings)
    # CSAF gives the name of the file: that of the document with all other signs made one underscore.
    write_json(folder / (re.sub(r"[^+\-a-z0-9]+", "_", document["document"]["tracking"]["id"].lower()) + ".json"), document)


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def for_people(release, looked, findings):
    lines = [f"{release.name} {release.version}", "", looked, ""]
    for one in findings:
        advisory = one["advisory"]
        lines += [f"{advisory['id']} {advisory['package']} {one['version']}: {one['status']}", f"  {advisory['title']}",
                  f"  {one['text']}"] + ([f"  {one['action']}"] if "action" in one else [])
    return "\n".join(lines).rstrip() + "\n"


def openvex(release, looked, findings):
    return {
        "@context": "https://openvex.dev/ns/v0.2.0",
        "@id": f"{release.url}/vex/{release.name}-{release.version}",
        "author": release.publisher,
        "role": "publisher",
        "timestamp": release.date,
        "version": 1,
        "tooling": f"packaging/release/advisories.py {release.version}. {looked}",
        "statements": [statement(release, one) for one in findings],
    }


def statement(release, one):
    advisory = one["advisory"]
    made = {
        "vulnerability": {"name": advisory["id"], "description": advisory["title"]},
        "timestamp": one["date"],
        "products": [{
            "@id": release.purl,
            "identifiers": {"purl": release.purl},
            "subcomponents": [{"@id": f"pkg:cargo/{advisory['package']}@{one['version']}"}],
        }],
        "status": one["status"],
        "status_notes": one["text"],
    }
    if advisory["aliases"]:
        made["vulnerability"]["aliases"] = advisory["aliases"]
    if "justification" in one:
        made["justification"] = one["justification"]
    if "action" in one:
        made["action_statement"] = one["action"]
    return made


def csaf(release, looked, findings):
    name, _, mail = release.publisher.rstrip(">").partition(" <")
    product = f"{release.name}-{release.version}"
    # The profile "VEX" wants at least one vulnerability.
    category = "csaf_vex" if findings else "csaf_base"
    made = {
        "document": {
            "category": category,
            "csaf_version": "2.0",
            "distribution": {"tlp": {"label": "WHITE"}},
            "lang": "en",
            "notes": [{"category": "summary", "title": "What was looked at", "text": looked}],
            "publisher": {"category": "vendor", "name": name, "namespace": release.url, "contact_details": mail},
            "title": f"Advisories and {release.name} {release.version}",
            "tracking": {
                "id": f"{product}-vex",
                "status": "final",
                "version": "1",
                "initial_release_date": release.date,
                "current_release_date": release.date,
                "revision_history": [{"number": "1", "date": release.date, "summary": f"With release {release.version}."}],
                "generator": {"engine": {"name": "packaging/release/advisories.py", "version": release.version}},
            },
        },
        "product_tree": {"branches": [{
            "category": "vendor", "name": name,
            "branches": [{
                "category": "product_name", "name": release.name,
                "branches": [{
                    "category": "product_version", "name": release.version,
                    "product": {
                        "name": f"{release.name} {release.version}",
                        "product_id": product,
                        "product_identification_helper": {"purl": release.purl, "hashes": [
                            {"filename": path, "file_hashes": [{"algorithm": "sha256", "value": value}]}
                            for path, value in sorted(set(release.programs))
                        ]},
                    },
                }],
            }],
        }]},
    }
    if findings:
        seen = set()
        made["vulnerabilities"] = [vulnerability(product, one, seen) for one in findings]
    return made


def vulnerability(product, one, seen):
    advisory = one["advisory"]
    made = {
        "title": advisory["title"],
        "ids": [{"system_name": "RustSec", "text": advisory["id"]}],
        "notes": [{"category": "description",
                   "text": f"{advisory['id']} in {advisory['package']} {one['version']}: {one['text']}"}],
    }
    # A document may name a CVE once.
    numbers = [alias for alias in advisory["aliases"] if re.fullmatch(r"CVE-\d{4}-\d{4,}", alias) and alias not in seen]
    if numbers:
        made["cve"] = numbers[0]
        seen.add(numbers[0])
    if one["status"] == "not_affected":
        made["product_status"] = {"known_not_affected": [product]}
        made["flags"] = [{"label": one["justification"], "product_ids": [product]}]
        made["threats"] = [{"category": "impact", "details": one["text"], "product_ids": [product]}]
    elif one["status"] == "affected":
        made["product_status"] = {"known_affected": [product]}
        made["remediations"] = [{"category": "workaround", "details": one["action"], "product_ids": [product]}]
    else:
        made["product_status"] = {"under_investigation": [product]}
    return made
