import com.azure.core.credential.TokenCredential;
import com.azure.core.credential.TokenRequestContext;
import com.azure.identity.ClientCertificateCredentialBuilder;
import com.azure.identity.ManagedIdentityCredentialBuilder;
import com.azure.identity.WorkloadIdentityCredentialBuilder;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.HttpURLConnection;
import java.net.URI;

/**
 * A program with Azure's own SDK, as the other clients are: {@code Client [--every SECONDS] [--scope SCOPE]}.
 *
 * <p>For each line that it reads, it asks for a token of that scope, with the credential of the line before unless the
 * line begins with "new ". With --every it asks by itself until it is stopped, calls the URL in HCPCREDS_CONFORM_URL
 * with each token, and prints no token.
 */
public final class Client {
  private TokenCredential credential = makeCredential();

  public static void main(String[] arguments) throws Exception {
    double every = 0;
    String scope = "https://management.azure.com/.default";
    for (int i = 0; i < arguments.length; i += 2) {
      switch (arguments[i]) {
        case "--every" -> every = Double.parseDouble(arguments[i + 1]);
        case "--scope" -> scope = arguments[i + 1];
        default -> throw new IllegalArgumentException(arguments[i]);
      }
    }
    Client client = new Client();
    while (every > 0) {
      System.out.println(client.call(scope));
      Thread.sleep((long) (every * 1000));
    }
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
    for (String line; (line = lines.readLine()) != null; ) {
      if (line.startsWith("new ")) {
        client.credential = makeCredential();
        line = line.substring(4);
      }
      System.out.println(client.ask(line));
    }
    System.exit(0); // the SDK's threads would go on
  }

  private static TokenCredential makeCredential() {
    String client = System.getenv("AZURE_CLIENT_ID");
    if (System.getenv("AZURE_FEDERATED_TOKEN_FILE") != null) {
      // The local authority is none that Microsoft's lists.
      return new WorkloadIdentityCredentialBuilder().disableInstanceDiscovery().build();
    }
    String certificate = System.getenv("AZURE_CLIENT_CERTIFICATE_PATH");
    if (certificate != null) {
      return new ClientCertificateCredentialBuilder()
          .tenantId(System.getenv("AZURE_TENANT_ID"))
          .clientId(client)
          .pemCertificate(certificate)
          .disableInstanceDiscovery()
          .build();
    }
    return new ManagedIdentityCredentialBuilder().clientId(client).build();
  }

  private String ask(String scope) {
    try {
      return "{\"token\": \"" + getToken(scope) + "\"}";
    } catch (Exception error) {
      return describe(error);
    }
  }

  private String call(String scope) {
    try {
      String token = getToken(scope);
      String url = System.getenv("HCPCREDS_CONFORM_URL");
      if (url != null) {
        HttpURLConnection connection = (HttpURLConnection) URI.create(url).toURL().openConnection();
        connection.setRequestProperty("Authorization", "Bearer " + token);
        connection.getInputStream().close();
      }
      return "{}";
    } catch (Exception error) {
      return describe(error);
    }
  }

  private String getToken(String scope) {
    return credential.getTokenSync(new TokenRequestContext().addScopes(scope)).getToken();
  }

  private static String describe(Exception error) {
    String text = error.toString().replaceAll("[^ !#-\\[\\]-~]", " ");
    return "{\"error\": \"" + text + "\"}";
  }
}
