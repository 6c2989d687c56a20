//! Whether access tokens stay within `tokens.max_bytes`.

use super::Doctor;
use crate::app::settings;
use crate::cli::{AdminError, Opened, block_on, user};

impl Doctor<'_> {
    /// Finds accounts whose roles and custom claims make tokens that are too long.
    pub(super) fn tokens(&mut self) {
        let issuer = self.config.issuer(self.config.listen);
        if let Err(error) = settings::token_size_limit(self.config, &issuer).check_user(&[], None) {
            let problem =
                format!("{error}, without any role; raise it, or shorten public_url or audience");
            return self.report("tokens.max_bytes", problem);
        }
        let found = block_on(async {
            let opened = Opened::read_only(self.config).await?;
            let clients = opened.clone().clients(self.config).oversized_tokens().await?;
            let accounts = user::accounts(self.config, opened)?;
            Ok::<_, AdminError>((accounts.oversized_tokens().await?, clients))
        });
        // A database that does not answer has its own finding.
        let Ok((found, clients)) = found else { return };
        for client in clients {
            let problem =
                format!("the tokens of the client {client} are longer; raise it, or remove scopes");
            self.report("tokens.max_bytes", problem);
        }
        if let Some((accounts, first)) = found.first.map(|first| (found.accounts, first)) {
            let problem = format!(
                "the tokens of {accounts} accounts are longer, the first is {first}; raise it, or \
                 remove roles or claims (`doorward user roles`, `doorward user claims`)"
            );
            self.report("tokens.max_bytes", problem);
        }
    }
}
