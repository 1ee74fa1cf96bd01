#include "net/host_policy.h"

#include <doctest/doctest.h>

#include <string>

namespace troupe::host_policy_test {
namespace {

/// Of a request that reached 10.0.0.5: "" if it is meant for us, else the sentence of the refusal.
std::string said(const HostPolicy& policy, const std::string& host, const std::string& origin) {
  HttpRequest request;
  request.local = "10.0.0.5";
  if (!host.empty()) request.headers.push_back({"Host", host});
  if (!origin.empty()) request.headers.push_back({"Origin", origin});
  const auto refusal = refuse_host(policy, request);
  if (!refusal) return "";
  CHECK(refusal->status == 403);
  return refusal->body;
}

bool names(const std::string& sentence, const std::string& host) {
  return sentence.find(" Host " + host + ": list it in the router's allowed_hosts") !=
         std::string::npos;
}
bool page_of(const std::string& sentence, const std::string& host) {
  return sentence.find(": list " + host + " in the router's allowed_hosts") != std::string::npos;
}

const HostPolicy kClosed{{{"chat.example", 0}, {"api.example", 8443}, {"web.example", 443}}};
const HostPolicy kOpen{kClosed.hosts, HostPolicy::HostOf::pages};

}  // namespace

TEST_CASE("host policy: names of this machine, addresses and listed names are its own") {
  for (const char* host :
       {"localhost", "LocalHost:8080", "localhost.", "app.localhost:3000", "127.0.0.1:8080",
        "127.8.8.8", "[::1]:8080", "10.0.0.5:8080", "192.0.2.9", "[fd00::7]", "chat.example",
        "CHAT.example:1", "api.example:8443", "web.example:443", "web.example", ""}) {
    CAPTURE(host);
    CHECK(said(kClosed, host, "") == "");
  }
}

TEST_CASE("host policy: a Host that nobody listed is refused by its name") {
  CHECK(names(said(kClosed, "evil.example:8080", ""), "evil.example"));
  CHECK(names(said(kClosed, "api.example", ""), "api.example"));
  CHECK(names(said(kClosed, "api.example:8444", ""), "api.example"));
  CHECK(names(said(kClosed, "web.example:80", ""), "web.example"));
  CHECK(names(said(kClosed, "xchat.example", ""), "xchat.example"));
  CHECK(names(said(kClosed, "chat.example.evil.example", ""), "chat.example.evil.example"));
  CHECK(names(said(kClosed, "127.0.0.1.evil.example", ""), "127.0.0.1.evil.example"));
  CHECK(names(said(kClosed, "localhost.evil.example", ""), "localhost.evil.example"));
  // What is no host at all isn't repeated.
  for (const char* host :
       {"evil@localhost", "localhost:8080:1", "[::1", "[localhost]", "a b", ":80"})
    CHECK_MESSAGE(names(said(kClosed, host, ""), "that was sent"), host);
}

TEST_CASE("host policy: where any name leads here only what pages send is asked for its Host") {
  CHECK(said(kOpen, "evil.example", "") == "");
  CHECK(names(said(kOpen, "evil.example", "http://localhost"), "evil.example"));
  CHECK(said(kOpen, "chat.example", "https://chat.example") == "");
  // A browser sends a Host, so a page without one is none of ours either.
  CHECK(names(said(kOpen, "", "http://localhost"), "that was sent"));
}

TEST_CASE("host policy: a page has to come from here or from a listed host") {
  for (const char* origin :
       {"http://localhost:3000", "https://127.0.0.1", "http://[::1]:8080", "tauri://localhost",
        "http://10.0.0.5:8080", "https://chat.example", "http://chat.example:3000",
        "https://api.example:8443", "https://web.example", "HTTPS://WEB.EXAMPLE"}) {
    CAPTURE(origin);
    CHECK(said(kClosed, "localhost:8080", origin) == "");
    CHECK(said(kOpen, "localhost:8080", origin) == "");
  }
  for (const auto& [origin, host] :
       {std::pair{"http://evil.example", "evil.example"},
        {"http://10.0.0.6:8080", "10.0.0.6"},
        {"http://web.example", "web.example"},
        {"https://api.example", "api.example"},
        {"https://chat.example.evil.example", "chat.example.evil.example"},
        {"null", "the page's host"},
        {"chat.example", "the page's host"},
        {"http://localhost@evil.example", "the page's host"}}) {
    CAPTURE(origin);
    CHECK(page_of(said(kClosed, "localhost:8080", origin), host));
    CHECK(page_of(said(kOpen, "localhost:8080", origin), host));
  }
}

}  // namespace troupe::host_policy_test
