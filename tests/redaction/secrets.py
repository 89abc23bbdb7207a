"""Secrets that open nothing, in pieces, so that no scanner takes them for a leak; and what only looks like one."""

from __future__ import annotations

import base64
import json


def _jwt() -> str:
    parts = [{"alg": "HS256", "typ": "JWT"}, {"sub": "1234567890", "name": "Ana"}]
    head = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*head, "c2lnbmF0dXJlLW9mLXRoZS10b2tlbg"])


_BODY = "MIIEpAIBAAKCAQEA7bq9sKpJmYt3" * 2
PEM = f"-----BEGIN RSA PRIVATE KEY-----\n{_BODY}\n{_BODY}\n-----END RSA PRIVATE KEY-----"

SECRETS = {
    "card": [
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        "4111111111111111",
        "5555 5555 5555 4444",
        "2223003122003222",
        "3782 822463 10005",
        "378282246310005",
        "6011 1111 1111 1117",
        "3530111333300000",
        "30569309025904",
    ],
    "email": [
        "ana@example.org",
        "Ana.Lind+maas@mail.example.co.uk",
        "o'neill_7@sub-domain.example.museum",
        "ünï@bücher.example",
        "x@xn--bcher-kva.example",
    ],
    "phone": ["+49 30 901820", "+44 (0)20 7183 8750", "+442071838750", "+1 650-253-0000", "+81-3-3570-8000"],
    "key": [
        "AKIA" + "IOSFODNN7EXAMPLE",
        "sk_" + "live_4eC39HqLyjWDarjtT1zdp7dcLongerThanTheOldOnes",
        "ghp" + "_16C7e42F292c6912E7710c838347Ae178B4a",
        "github" + "_pat_11ABCDEFG0abcdefghijkl_morethanthat",
        "glpat-" + "a1B2c3D4e5F6g7H8i9J0",
        "xoxb" + "-123456789012-1234567890123-AbCdEfGhIjKl",
        "SG." + "a" * 22 + "." + "b" * 43,
        "npm_" + "a1B2c3D4e5F6" * 3,
        "AIza" + "SyA1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q",
        "sk-" + "ant-api03-" + "x1Y2" * 10,
        "maas" + "_ab12cd34_" + "a1b2c3d4" * 4,
        _jwt(),
        PEM,
    ],
}

HARMLESS = [
    "order 2025551234, invoice 4711-0815-2024, receipt 9400111899223197428490",
    "IBAN DE89 3704 0044 0532 0130 00, ISBN 978-3-16-148410-0, EAN 4006381333931",
    "2024-05-01T12:30:11+02:00, 01.05.2024 12:30, 5/1/2024, 1700000000, 1700000000123456, 1700000000123456789",
    "v1.2.3, 10.0.19045.4170, 192.168.178.20, fe80::1ff:fe23:4567:890a, 00:1A:2B:3C:4D:5E",
    "123e4567-e89b-12d3-a456-426614174000 and 01ARZ3NDEKTSV4RRFFQ69G5FAV",
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 d41d8cd98f00b204e9800998ecf8427e",
    "commit 9c9b72b4f0c5d7a1e2b3c4d5e6f708192a3b4c5d, sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
    "0.4532015112830366 and 3.141592653589793 and -12.4111111111111111",
    "4111 1111 1111 1112 and 4111111111111112 have a wrong check digit",
    "left-pad@1.3.0, vue@3.4.0-beta.1, @scope/name@2.0.1, meet me @ the harbour, @ana said so, root@localhost",
    "my password is the name of my first dog; the key is under the mat; a token of my love",
    "52.520008, 13.404954; +52.5200 -13.4049; +15 °C; C++ 17; @@ -1,7 +1,9 @@; 1 + 1 = 2; +1; 100 000 000 000",
    "rooms 4101 4102 4103 4104, years 2021 2022 2023 2024, sizes 38-40-42",
    "snowflake 1234567890123456789, tracking 1Z999AA10123456784, VIN WVWZZZ1JZXW000001",
    "See https://example.org/a/b?c=d&e=f#g and http://localhost:8000/v1/memories/01ARZ3NDEKTSV4RRFFQ69G5FAV",
]
