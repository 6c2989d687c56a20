import org.springframework.security.oauth2.jwt.JwtException;

/** Prints the account of a token. */
class Main {
    public static void main(String[] arguments) {
        try {
            System.out.println(AccessTokens.decoder().decode(arguments[0]).getSubject());
        } catch (JwtException refused) {
            System.out.println("refused: " + refused.getMessage());
        }
    }
}
