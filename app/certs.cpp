// troupe certs: the cluster's CA and the certificates of its nodes.
#include "net/certs.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <memory>

#include "app/commands.h"

namespace troupe {

namespace {

WallTime wall_now() {
  return std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
}

void add_init(CLI::App& certs, Command& chosen) {
  auto order = std::make_shared<CaOrder>();
  CLI::App* c = certs.add_subcommand("init", "Make the cluster's CA (P-256): ca.pem and ca.key");
  c->add_option("--dir", order->folder, "Folder for the CA and the certificates")->required();
  c->add_option("--cluster", order->cluster, "Name of the cluster, for people")
      ->capture_default_str();
  c->add_option("--days", order->days, "How long the CA lasts")->capture_default_str();
  c->footer("Example:\n  troupe certs init --dir certs --cluster demo");
  c->callback([order, &chosen] {
    chosen = [order]() -> Result<int> {
      order->now = wall_now();
      auto made = make_ca(*order);
      if (!made) return std::unexpected(made.error());
      std::printf(
          "%s\n%s  (keep it off the nodes)\nNext: troupe certs issue NODE --dir %s, once for each "
          "node.\n",
          made->certificate.c_str(), made->key.c_str(), order->folder.c_str());
      return 0;
    };
  });
}

void add_issue(CLI::App& certs, Command& chosen) {
  auto order = std::make_shared<NodeOrder>();
  auto replace = std::make_shared<bool>(false);
  CLI::App* c =
      certs.add_subcommand("issue", "Issue a node's certificate and key: NODE.pem and NODE.key");
  c->add_option("node", order->node, "The node's name in the config")->required();
  c->add_option("--dir", order->folder, "Folder that troupe certs init made")->required();
  c->add_option("--host", order->hosts,
                "A further host name or IP address in the certificate; may be repeated")
      ->take_all();
  c->add_option("--days", order->days, "How long the certificate lasts; 0 expires at once")
      ->capture_default_str();
  c->add_flag("--replace", *replace, "Replace the certificate and key the node already has");
  c->footer("Example:\n  troupe certs issue n1 --dir certs --host 10.0.0.1");
  c->callback([order, replace, &chosen] {
    chosen = [order, replace]() -> Result<int> {
      order->now = wall_now();
      order->if_issued = *replace ? IfIssued::replace : IfIssued::refuse;
      auto made = issue_certificate(*order);
      if (!made) return std::unexpected(made.error());
      std::printf(
          "%s\n%s\nNext: copy both and %s to the host of %s, and name the folder as "
          "security.certs in its config.\n",
          made->certificate.c_str(), made->key.c_str(), ca_files(order->folder).certificate.c_str(),
          order->node.c_str());
      return 0;
    };
  });
}

}  // namespace

void add_certs(CLI::App& app, Command& chosen) {
  CLI::App* certs = app.add_subcommand(
      "certs", "Make the CA and the node certificates of the link between hosts");
  certs->require_subcommand(1);
  certs->footer("Example:\n  troupe certs init --dir certs && troupe certs issue n1 --dir certs");
  add_init(*certs, chosen);
  add_issue(*certs, chosen);
}

}  // namespace troupe
