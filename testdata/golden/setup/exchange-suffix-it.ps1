# Fatto da pecgate per il relay suffix di pecgate.comune.example. docs/groupware.md spiega ogni riga.
# Da sapere prima di eseguirlo: Exchange chooses the way by the recipient's domain only: what is marked by from, subject, senders alone does not come to the gateway
# Exchange Server 2019 ed Exchange Server SE: da eseguire in Exchange Management Shell come membro di Organization Management.
# Si ferma al primo errore, invece di proseguire a meta'.
$ErrorActionPreference = 'Stop'
# Il nome di cio' che viene creato e il commento che lo riconosce: il resto non viene toccato.
$Name = 'pecgate suffix'
$Marker = 'Made by pecgate setup exchange for relay suffix'
# Indirizzi da cui il gateway si collega a Exchange.
$GatewayAddresses = @('192.0.2.30')
# I server Mailbox che parlano con il gateway, tutti, come @('EX01', 'EX02'). relays di policy.yaml deve elencarne gli indirizzi.
$Servers = @($env:COMPUTERNAME)

# 1. In uscita: cio' che va a questi domini passa al gateway, su TLS, e solo se mostra il suo certificato.
$send = @{
    AddressSpaces = @('SMTP:*.pec;1', 'SMTP:pec.azienda.example;1', 'SMTP:pecgate.comune.example;1')
    SmartHosts = @('pecgate.comune.example')
    DNSRoutingEnabled = $false
    Port = 25
    RequireTLS = $true
    TlsAuthLevel = 'DomainValidation'
    TlsDomain = 'pecgate.comune.example'
    SmartHostAuthMechanism = 'None'
    MaxMessageSize = '100MB'
    SourceTransportServers = $Servers
    ProtocolLoggingLevel = 'Verbose'
    Comment = $Marker
    Enabled = $true
}
$old = Get-SendConnector | Where-Object { $_.Name -eq $Name }
if (-not $old) {
    New-SendConnector -Name $Name -Custom @send
} elseif ($old.Comment -eq $Marker) {
    Set-SendConnector -Identity $Name @send
} else {
    throw "the send connector $Name exists and was not made by this script: rename it"
}

# 2. Ritorno: cio' che il gateway consegna. Il connettore risponde solo ai suoi indirizzi; vince sul predefinito perche' piu' preciso.
$receive = @{
    RemoteIPRanges = $GatewayAddresses
    Bindings = @('0.0.0.0:25')
    PermissionGroups = 'AnonymousUsers'
    AuthMechanism = 'Tls'
    RequireTLS = $true
    EightBitMimeEnabled = $true
    DeliveryStatusNotificationEnabled = $true
    MaxMessageSize = '100MB'
    ProtocolLoggingLevel = 'Verbose'
    Comment = $Marker
    Enabled = $true
}
# L'account delle connessioni senza login, nella lingua di questo Windows.
$anonymous = (New-Object -TypeName 'System.Security.Principal.SecurityIdentifier' -ArgumentList 'S-1-5-7').Translate([System.Security.Principal.NTAccount]).Value
foreach ($server in $Servers) {
    $identity = "$server\$Name"
    $old = Get-ReceiveConnector -Server $server | Where-Object { $_.Name -eq $Name }
    if (-not $old) {
        New-ReceiveConnector -Name $Name -Server $server -TransportRole FrontendTransport -Usage Custom @receive
    } elseif ($old.Comment -eq $Marker) {
        Set-ReceiveConnector -Identity $identity @receive
    } else {
        throw "the receive connector $identity exists and was not made by this script: rename it"
    }
    # Gli agenti antispam lasciano passare cio' che arriva da qui. L'avviso che il diritto esiste gia' non e' un errore.
    Get-ReceiveConnector -Identity $identity | Add-ADPermission -User $anonymous -ExtendedRights 'Ms-Exch-Bypass-Anti-Spam'
}

# 3. Regole di trasporto.

# Crea una regola di trasporto, o reimposta quella con questo nome se e' nostra.
function Set-PecgateRule {
    param([string]$RuleName, [hashtable]$Settings)
    $old = Get-TransportRule | Where-Object { $_.Name -eq $RuleName }
    if (-not $old) {
        New-TransportRule -Name $RuleName -Comments $Marker @Settings
    } elseif ($old.Comments -eq $Marker) {
        Set-TransportRule -Identity $RuleName @Settings
    } else {
        throw "the mail-flow rule $RuleName exists and was not made by this script: rename it"
    }
    $script:Rules += $RuleName
}
# Nomi delle regole attuali; quelle in piu' di un'esecuzione precedente vengono tolte alla fine.
$script:Rules = @()

# Posta dal gateway: nessun disclaimer, nessun antispam. Una busta firmata e modificata non vale nulla.
# E' la prima e l'ultima regola per questi messaggi: nessun'altra aggiunge testo.
$rule = @{
    SenderIpRanges = $GatewayAddresses
    SetSCL = -1
    StopRuleProcessing = $true
    Priority = 0
}
Set-PecgateRule -RuleName 'pecgate suffix from the gateway' -Settings $rule

# L'indirizzo del PC del mittente non esce.
$rule = @{
    RecipientAddressMatchesPatterns = @('\.pec$', '@pec\.azienda\.example$', '@pecgate\.comune\.example$')
    RemoveHeader = 'X-Originating-IP'
}
Set-PecgateRule -RuleName 'pecgate suffix clean header' -Settings $rule

# Regole di un'esecuzione precedente che non servono piu', come quelle di utenti usciti.
Get-TransportRule | Where-Object { $_.Comments -eq $Marker -and $script:Rules -notcontains $_.Name } | ForEach-Object { Remove-TransportRule -Identity $_.Name -Confirm:$false }

# 4. Formato di cio' che esce.

# Domini remoti: niente winmail.dat (TNEF), che rende inutile una PEC, e nulla di automatico verso indirizzi PEC.
$remoteDomains = @{ 'pecgate suffix *.pec' = '*.pec'; 'pecgate suffix pec.azienda.example' = 'pec.azienda.example'; 'pecgate suffix pecgate.comune.example' = 'pecgate.comune.example' }
$remote = @{
    TNEFEnabled = $false
    AllowedOOFType = 'None'
    AutoReplyEnabled = $false
    AutoForwardEnabled = $false
    DeliveryReportEnabled = $false
    NDREnabled = $false
    MeetingForwardNotificationEnabled = $false
}
foreach ($key in $remoteDomains.Keys) {
    $domain = $remoteDomains[$key]
    # I domini remoti non hanno commento: uno gia' creato da altri per lo stesso dominio resta com'e'.
    $other = Get-RemoteDomain | Where-Object { "$($_.DomainName)" -eq $domain -and $_.Name -ne $key }
    if ($other) {
        throw "the remote domain $($other.Name) for $domain was not made by this script: set its TNEFEnabled to false or remove it"
    }
    if (-not (Get-RemoteDomain | Where-Object { $_.Name -eq $key })) {
        New-RemoteDomain -Name $key -DomainName $domain
    }
    Set-RemoteDomain -Identity $key @remote
}

# Gli altri destinatari seguono il dominio remoto Default. Non e' nostro e resta com'e': qui si guarda soltanto.
$default = Get-RemoteDomain -Identity 'Default'
if ($default.TNEFEnabled -ne $false) {
    Write-Warning 'Messages in rich text may leave with winmail.dat, and the gateway refuses them. To send none: Set-RemoteDomain -Identity Default -TNEFEnabled $false'
}

Write-Host 'Done. Test it: send a message to yourself through the gateway and look at pecgate queue list.'
