#include "net/group_tls.h"

#include <fmt/format.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>

#include <string_view>

#include "config/check.h"
#include "config/limits.h"
#include "net/socket_bio.h"

namespace troupe {

namespace {

constexpr unsigned char kCipher[] = {0x13, 0x01};  // TLS_AES_128_GCM_SHA256

}  // namespace

GroupKey GroupKey::random() {
  GroupKey key;
  TROUPE_CHECK(RAND_bytes(key.bytes_.data(), kBytes) == 1);
  return key;
}

void SslFree::operator()(ssl_st* ssl) const { SSL_free(ssl); }

/// OpenSSL asks for the key on both sides; it takes a reference of the session it is given.
struct GroupTls::Callbacks {
  static const GroupTls& self(SSL* ssl) {
    return *static_cast<const GroupTls*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
  }

  static SSL_SESSION* key_of(const GroupTls& tls) {
    SSL_SESSION_up_ref(tls.session_);
    return tls.session_;
  }

  static int offer(SSL* ssl, const EVP_MD* digest, const unsigned char** id, size_t* id_length,
                   SSL_SESSION** session) {
    const GroupTls& tls = self(ssl);
    *session = nullptr;
    // After a retry the hash is given; the only cipher's is SHA-256.
    if (digest != nullptr && EVP_MD_get_type(digest) != NID_sha256) return 1;
    *id = reinterpret_cast<const unsigned char*>(tls.identity_.data());
    *id_length = tls.identity_.size();
    *session = key_of(tls);
    return 1;
  }

  static int find(SSL* ssl, const unsigned char* id, size_t id_length, SSL_SESSION** session) {
    const GroupTls& tls = self(ssl);
    const std::string_view wanted(reinterpret_cast<const char*>(id), id_length);
    *session = wanted == tls.identity_ ? key_of(tls) : nullptr;
    return 1;
  }
};

GroupTls::GroupTls(const std::string& group, uint32_t generation, const GroupKey& key)
    : identity_(fmt::format("troupe rank {} generation {}", group, generation)),
      context_(SSL_CTX_new(TLS_method())),
      session_(SSL_SESSION_new()) {
  TROUPE_CHECK(context_ != nullptr && session_ != nullptr);
  SSL_CTX_set_min_proto_version(context_, TLS1_3_VERSION);
  SSL_CTX_set_max_proto_version(context_, TLS1_3_VERSION);
  TROUPE_CHECK(SSL_CTX_set_ciphersuites(context_, "TLS_AES_128_GCM_SHA256") == 1);
  SSL_CTX_set_options(context_, SSL_OP_NO_TICKET);
  SSL_CTX_set_num_tickets(context_, 0);
  SSL_CTX_set_session_cache_mode(context_, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_mode(context_, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  // One receive call for several records.
  SSL_CTX_set_read_ahead(context_, 1);
  SSL_CTX_set_default_read_buffer_len(context_, 4 * kTcpRecordBytes);
  SSL_CTX_set_app_data(context_, this);
  SSL_CTX_set_psk_use_session_callback(context_, &Callbacks::offer);
  SSL_CTX_set_psk_find_session_callback(context_, &Callbacks::find);

  const SslPointer any(SSL_new(context_));
  const SSL_CIPHER* cipher = SSL_CIPHER_find(any.get(), kCipher);
  TROUPE_CHECK(cipher != nullptr &&
               SSL_SESSION_set1_master_key(session_, key.bytes().data(), GroupKey::kBytes) == 1 &&
               SSL_SESSION_set_cipher(session_, cipher) == 1 &&
               SSL_SESSION_set_protocol_version(session_, TLS1_3_VERSION) == 1);
}

GroupTls::~GroupTls() {
  SSL_SESSION_free(session_);
  SSL_CTX_free(context_);
}

SslPointer GroupTls::connection(int socket, TlsRole role) const {
  SslPointer ssl(SSL_new(context_));
  TROUPE_CHECK(ssl != nullptr);
  BIO* bio = socket_bio(socket);
  SSL_set_bio(ssl.get(), bio, bio);
  if (role == TlsRole::listener) {
    SSL_set_accept_state(ssl.get());
  } else {
    SSL_set_connect_state(ssl.get());
    // Who answers with a certificate instead of the key: there is none to trust.
    SSL_set_verify(ssl.get(), SSL_VERIFY_PEER, nullptr);
  }
  return ssl;
}

}  // namespace troupe
